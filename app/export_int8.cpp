#include "app/export_int8.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "compress/deploy/compare_int8.h"
#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
#include "compress/deploy/twin.h"
#include "train/evaluate.h"
#include "train/table.h"

namespace vtrain {
namespace {

constexpr int64_t kStepImages = 8;      // compared step by step
constexpr int64_t kClassImages = 1000;  // compared by class

/// A file that is gone at the end, whatever happens.
class ScratchFile {
 public:
  explicit ScratchFile(std::string path) : path_(std::move(path)) {}
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::string& path() const { return path_; }
  std::string bytes() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

 private:
  std::string path_;
};

std::vector<Tensor> all_images(Loader& loader) {
  std::vector<Tensor> batches;
  loader.start(0);
  while (const std::optional<Batch> batch = loader.next()) batches.push_back(batch->images);
  return batches;
}

Accuracy accuracy_of(Plan& plan, Loader& loader) {
  return evaluate([&](const Tensor& images, int64_t) { return plan.run(images); }, loader);
}

/// With scales that follow from images of the train split.
Int8Network calibrated(const Int8ExportArguments& a) {
  Int8Network chosen{.network = load_reals(a.weights)};
  if (a.images < kFewestCalibrationImages)
    throw RecipeError(str("--images: expected at least ", kFewestCalibrationImages,
                          " to calibrate with, got ", a.images));
  const std::vector<Tensor> calibration =
      all_images(*a.loader(*chosen.network, Split::kTrain, 64, a.images));
  chosen.quantization = calibrate(*chosen.network, Graph(*chosen.network), calibration,
                                  {.range = a.range, .skip = a.skip});
  chosen.record = {.range = a.range, .images = 0, .skip = a.skip};
  for (const Tensor& batch : calibration) chosen.record.images += batch.dim(0);
  return chosen;
}

/// With the scales that a training on integers ended in.
Int8Network trained(const Int8ExportArguments& a) {
  if (!a.skip.empty()) throw RecipeError(str("--skip: ", a.weights, " is on integers already"));
  return load_int8(a.weights);
}

}  // namespace

ExitCode export_int8(const Int8ExportArguments& a) {
  AtomicFile file(a.out);  // a name that cannot be written is found before the work
  const Int8Network chosen = is_int8_file(a.weights) ? trained(a) : calibrated(a);
  const std::unique_ptr<Network>& network = chosen.network;

  const ScratchFile unchecked(str(a.out, ".unchecked-", getpid()));
  save_int8(unchecked.path(), *network, Graph(*network), chosen.quantization, chosen.record);
  const Int8Network read = load_int8(unchecked.path());
  Plan plan(*read.network, read.quantization);
  const std::unique_ptr<Network> twin =
      fake_quantized(*read.network, Graph(*read.network), read.quantization);

  const std::vector<Tensor> compared =
      all_images(*a.loader(*network, Split::kTest, 50, kClassImages));
  const Int8Difference difference =
      compare_int8(plan, *twin, compared[0].slice(0, 0, std::min(kStepImages, compared[0].dim(0))));
  ClassAgreement classes;
  for (const Tensor& images : compared) classes.add(plan.run(images), twin->logits(images));
  if (!difference.first.empty())
    throw Error(str(a.out, ": not written: the integer network differs from its simulated twin: ",
                    "first in ", difference.first, ", by up to ", difference.worst_codes,
                    " codes and ", difference.worst_reals, " of the largest real"),
                ExitCode::kVerification);
  if (!classes.holds())
    throw Error(
        str(a.out, ": not written: of ", classes.images, " images the integer network has ",
            "the class of its simulated twin for ", classes.same, ", expected all but one in 500"),
        ExitCode::kVerification);

  Plan real(*network);
  const Accuracy before = accuracy_of(real, *a.loader(*network, Split::kTest, 250, {})),
                 after = accuracy_of(plan, *a.loader(*network, Split::kTest, 250, {}));
  file.write(unchecked.bytes());
  file.commit();

  const auto size = [](const std::string& path) {
    return human_bytes(static_cast<double>(std::filesystem::file_size(path)));
  };
  std::cout << a.out << ": " << read.quantization.layers.size() << " layers on integers, ranges "
            << read.record.range << " of " << read.record.images << " training images; read back\n"
            << "against its simulated twin: " << difference.steps.size()
            << " steps differ by at most " << difference.worst_codes << " code, reals by "
            << difference.worst_reals << "; the class is the same for " << classes.same << " of "
            << classes.images << " images\n"
            << "top-1 of " << after.samples << " test images: " << fixed(before.top1_percent, 2)
            << " % in f32, " << fixed(after.top1_percent, 2) << " % on integers ("
            << (after.top1_percent >= before.top1_percent ? "+" : "")
            << fixed(after.top1_percent - before.top1_percent, 2) << ")\n"
            << "file: " << (is_int8_file(a.weights) ? "" : str(size(a.weights), " in f32, "))
            << size(a.out) << " on integers\n";
  return ExitCode::kDone;
}

}  // namespace vtrain
