#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tensor/safetensors.h"

namespace vtrain {

/// The checkpoints of one run: `ckpt/step-<n>` single files with checksums, written atomically, the
/// newest `keep` of them; `ckpt/last` points to the newest.
class Checkpoints {
 public:
  Checkpoints(std::filesystem::path folder, int64_t keep)
      : folder_(std::move(folder)), keep_(keep) {}

  /// `step` counts over all phases. Values that are not finite are refused (ExitCode::kNonFinite);
  /// a failed write leaves the older files as they were (IoError).
  void save(int64_t step, const NamedTensors& content);

  /// Newest first.
  std::vector<std::filesystem::path> files() const;
  /// The newest that reads without error; `warn` gets a line for each that does not. Throws
  /// CheckpointError if none does.
  std::pair<std::filesystem::path, NamedTensors> newest(
      const std::function<void(const std::string&)>& warn) const;

 private:
  std::filesystem::path folder_;
  int64_t keep_;
};

}  // namespace vtrain
