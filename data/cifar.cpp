#include "data/cifar.h"

#include <filesystem>
#include <utility>

#include "data/read_file.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

constexpr ImageSize kSize{.channels = 3, .height = 32, .width = 32};
constexpr int64_t kPlane = kSize.height * kSize.width;

class Cifar final : public Dataset {
 public:
  Cifar(std::vector<uint8_t> records, CifarDescription description)
      : records_(std::move(records)), description_(std::move(description)) {}

  std::string name() const override { return description_.name; }
  int64_t size() const override { return static_cast<int64_t>(records_.size()) / record_bytes(); }
  ImageSize image_size() const override { return kSize; }
  std::vector<std::string> class_names() const override { return description_.class_names; }
  std::vector<double> default_mean() const override { return description_.mean; }
  std::vector<double> default_std() const override { return description_.std; }
  int label(int64_t i) const override { return record(i)[description_.label_bytes - 1]; }
  void image(int64_t i, uint8_t* hwc) const override {
    const uint8_t* const planes = record(i) + description_.label_bytes;
    for (int64_t p = 0; p < kPlane; ++p) {
      for (int64_t c = 0; c < kSize.channels; ++c) *hwc++ = planes[c * kPlane + p];
    }
  }

 private:
  int64_t record_bytes() const { return description_.label_bytes + kSize.numel(); }
  const uint8_t* record(int64_t i) const { return records_.data() + i * record_bytes(); }

  std::vector<uint8_t> records_;
  CifarDescription description_;
};

}  // namespace

std::shared_ptr<const Dataset> open_cifar(const DatasetOptions& options,
                                          const CifarDescription& description) {
  const std::string hint =
      str("data.root must be the folder of the binary version of ", description.name, " (",
          description.train_files[0], "), or the one that holds ", description.archive_folder,
          "; see https://www.cs.toronto.edu/~kriz/cifar.html");
  if (options.root.empty()) throw DataError(str("data.root: missing; ", hint));
  const std::string inner = str(options.root, '/', description.archive_folder);
  const std::string folder = std::filesystem::is_directory(inner) ? inner : options.root;
  const int64_t record_bytes = description.label_bytes + kSize.numel();
  const auto classes = static_cast<int64_t>(description.class_names.size());
  std::vector<uint8_t> records;
  for (const std::string& file :
       options.split == Split::kTrain ? description.train_files : description.test_files) {
    const std::string path = str(folder, '/', file);
    const std::vector<uint8_t> bytes = read_file(path, hint);
    const auto count = static_cast<int64_t>(bytes.size());
    if (count == 0 || count % record_bytes != 0) {
      throw DataError(str(path, ": expected a whole number of images of ", record_bytes,
                          " bytes, got ", count, " bytes; it is truncated or damaged"));
    }
    for (int64_t i = 0; i < count / record_bytes; ++i) {
      const int label = bytes[static_cast<size_t>(i * record_bytes + description.label_bytes - 1)];
      if (label < classes) continue;
      throw DataError(
          str(path, ": label of image ", i, ": expected 0..", classes - 1, ", got ", label));
    }
    records.insert(records.end(), bytes.begin(), bytes.end());
  }
  return std::make_shared<Cifar>(std::move(records), description);
}

}  // namespace vtrain
