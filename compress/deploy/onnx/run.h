#pragma once

#include <string>
#include <vector>

#include "compress/deploy/onnx/file.h"

namespace vtrain {

/// What a runtime of others computed from a file.
struct OnnxRun {
  std::string runtime;          // "onnxruntime 1.20.1", "onnx reference evaluator 1.17.0"; "": none
  std::string why_not;          // if none ran: one sentence
  std::vector<Tensor> outputs;  // f32, one per output of the file, for all images
};

/// Runs the file at `path`, of which `file` is the content, on images (N, C, H, W), at most `batch`
/// at a time: with onnxruntime, else with ONNX's own evaluator, as the Python in the environment
/// variable PYTHON or else the `python3` on the path has them. No Python, or neither of them in it,
/// is an OnnxRun without a runtime. Throws Error (kVerification) if the runtime refuses the file.
OnnxRun run_onnx(const std::string& path, const OnnxFile& file, const Tensor& images,
                 int64_t batch);

}  // namespace vtrain
