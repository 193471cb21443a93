// A folder of images for each class, as torchvision's ImageFolder reads it: root/train/cat/1.jpg,
// root/test/cat/2.jpg (or root/val/...). Links are followed.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "data/encoded_dataset.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;
constexpr const char* kHint =
    "image_folder reads root/train/<class>/*.jpg and root/test/<class>/*.jpg or "
    "root/val/<class>/*.jpg";

std::string folder_of(const DatasetOptions& options) {
  if (options.root.empty()) throw DataError(str("data.root: missing; ", kHint));
  if (options.split == Split::kTrain) return options.root + "/train";
  const std::string test = options.root + "/test", val = options.root + "/val";
  return fs::exists(val) && !fs::exists(test) ? val : test;
}

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  const std::string root = folder_of(options);
  if (!fs::is_directory(root)) throw DataError(str(root, ": no such folder; ", kHint));
  std::vector<ImageFile> files;
  std::vector<std::string> folders;
  try {
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(root, fs::directory_options::follow_directory_symlink)) {
      std::string path = entry.path().string().substr(root.size() + 1);
      if (entry.is_directory()) {
        folders.push_back(std::move(path));
      } else {
        files.push_back({.path = std::move(path)});
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw DataError(str(error.path1().string(), ": cannot read: ", error.code().message()));
  }
  EncodedFiles content = sorted_by_class("image_folder", std::move(files), folders, root, kHint);
  content.folder = root;
  return std::make_shared<EncodedDataset>(std::move(content));
}

const RegisteredDataset registered("image_folder",
                                   "folders root/train/<class> and root/test/<class> (or val) of "
                                   "JPEG or PNG files",
                                   open);

}  // namespace
}  // namespace vtrain
