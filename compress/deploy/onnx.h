#pragma once

#include <cstdint>
#include <string>

#include "compress/deploy/calibrate.h"
#include "compress/deploy/onnx/file.h"
#include "nn/network.h"

namespace vtrain {

/// A network's evaluation as an ONNX model, opset 17: (N, C, H, W) f32 "images", already
/// normalised, to "logits" (N, K) and to the further heads by name, the batch size N open.
/// Parameters are initializers under their paths; nodes are named by the place of the op in the
/// network. The metadata has the architecture and how pixels become inputs (mean, std, crop_pct,
/// interpolation) and class_names, as JSON.
///
/// How an op of ours is written stands in compress/deploy/onnx/, one file per family; an op
/// registers itself there (RegisteredOnnxOp). Throws Error naming the layer and the op that has no
/// form in ONNX.
OnnxFile onnx_of(Network& network);
/// The same on integers (OnnxWriter says how); `quantization` is of the network.
OnnxFile onnx_of(Network& network, const Quantization& quantization);

struct OnnxCheckOptions {
  double tolerance = 1e-4;  // of max |difference| / max |output|, for each output
  /// On integers: of the logits. Runtimes round next to ties, and branches of a sum, otherwise, and
  /// a code that differs grows from layer to layer.
  double code_tolerance = 0.2;
  double near_classes = 0.02;  // on integers: two classes so near are no difference
  int64_t batch = 32;          // images run at a time
};

/// What a file holds, and how it did beside its network.
struct OnnxReport {
  int64_t bytes = 0, nodes = 0, parameters = 0;
  std::string runtime = {};  // what ran the file; "": nothing could, see why_not
  std::string why_not = {};
  int64_t images = 0, same_class = 0;
  double difference = 0;  // the largest, relative, over the outputs
};

/// Reads the file at `path` and checks that it is `wanted`, initializers bit for bit; that
/// every value is made once, before it is read; that ONNX's own checker and inference of shapes
/// find no fault. Throws Error (kVerification) with the first that does not hold.
void check_onnx(const OnnxFile& wanted, const std::string& path);

/// Runs the file at `path`, where there is a runtime (compress/deploy/onnx/run.h), and the network
/// on `images` (M, C, H, W). Throws Error (kVerification) if an output differs by more than the
/// tolerance, or a class between which the tolerance can decide; it names the first layer whose
/// values differ.
OnnxReport compare_onnx(Network& network, const std::string& path, const Tensor& images,
                        const OnnxCheckOptions& options = {});

/// The same against the plan on integers: logits within code_tolerance, and the same class for all
/// but one image in 50.
OnnxReport compare_onnx(Network& network, const Quantization& quantization, const std::string& path,
                        const Tensor& images, const OnnxCheckOptions& options = {});

/// Writes the network to `path`, checked and compared before it appears under that name: after an
/// error there is what was there before. Throws as the functions above do, and IoError.
OnnxReport export_onnx(Network& network, const std::string& path, const Tensor& images,
                       const OnnxCheckOptions& options = {});
OnnxReport export_onnx(Network& network, const Quantization& quantization, const std::string& path,
                       const Tensor& images, const OnnxCheckOptions& options = {});

}  // namespace vtrain
