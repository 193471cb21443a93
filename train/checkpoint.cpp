#include "train/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tensor/ops/optimize.h"

namespace vtrain {
namespace fs = std::filesystem;
namespace {
constexpr std::string_view kPrefix = "step-";

int64_t step_of(const fs::path& file) {
  return std::strtoll(file.filename().c_str() + kPrefix.size(), nullptr, 10);
}
}  // namespace

void Checkpoints::save(int64_t step, const NamedTensors& content) {
  for (const auto& [name, tensor] : content.tensors) {
    const Tensor one[] = {tensor};
    if (is_floating(tensor.dtype()) && !std::isfinite(sum_of_squares(one))) {
      throw Error(str("checkpoint of step ", step, ": ", name,
                      " holds a value that is not finite; not saved, the one before is good"),
                  ExitCode::kNonFinite);
    }
  }
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw IoError(str(folder_.string(), ": cannot be made: ", error.message()));
  const fs::path file = folder_ / str(kPrefix, step);
  write_safetensors(file.string(), content);

  // A link is swapped by renaming a new one over it, so that a reader always finds one.
  const fs::path link = folder_ / "last", fresh = folder_ / "last.new";
  fs::remove(fresh, error);
  fs::create_symlink(file.filename(), fresh, error);
  if (!error) fs::rename(fresh, link, error);
  if (error) throw IoError(str(link.string(), ": cannot be set: ", error.message()));
  const std::vector<fs::path> all = files();
  for (size_t i = static_cast<size_t>(keep_); i < all.size(); ++i) fs::remove(all[i], error);
}

std::vector<fs::path> Checkpoints::files() const {
  std::vector<fs::path> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const bool is_ours = name.starts_with(kPrefix) &&
                         name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos;
    if (is_ours) all.push_back(entry.path());
  }
  std::sort(all.begin(), all.end(),
            [](const fs::path& a, const fs::path& b) { return step_of(a) > step_of(b); });
  return all;
}

std::pair<fs::path, NamedTensors> Checkpoints::newest(
    const std::function<void(const std::string&)>& warn) const {
  for (const fs::path& file : files()) {
    try {
      return {file, read_safetensors(file.string())};
    } catch (const CheckpointError& error) {
      warn(str("warning: ", error.what(), "; falling back to the checkpoint before it"));
    }
  }
  throw CheckpointError(str(folder_.string(), ": no readable checkpoint"));
}

}  // namespace vtrain
