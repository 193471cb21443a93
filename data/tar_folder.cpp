// Folders of classes inside a tar archive for each split: root/train.tar and root/test.tar (or
// val.tar), with members such as test/airplane/0001.jpg. One file is copied and cached faster than
// a hundred thousand; images are read from their places in it, so nothing is unpacked.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "data/decode.h"
#include "data/encoded_dataset.h"
#include "data/tar.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

constexpr const char* kHint =
    "tar_folder reads root/train.tar and root/test.tar or root/val.tar, with members such as "
    "test/cat/1.jpg";

std::string path_of(const DatasetOptions& options) {
  if (options.root.empty()) throw DataError(str("data.root: missing; ", kHint));
  const std::string folder = options.root + '/';
  if (options.split == Split::kTrain) return folder + "train.tar";
  return std::filesystem::exists(folder + "val.tar") &&
                 !std::filesystem::exists(folder + "test.tar")
             ? folder + "val.tar"
             : folder + "test.tar";
}

/// Takes off the first folder as long as all images share it and lie in a further one: "test" of
/// test/airplane/0001.jpg.
void strip_common_folder(std::vector<ImageFile>& files, std::vector<std::string>& folders) {
  while (!files.empty()) {
    const std::string first = files[0].path.substr(0, files[0].path.find('/') + 1);
    const bool can_go = !first.empty() && std::ranges::all_of(files, [&](const ImageFile& file) {
      return file.path.starts_with(first) && file.path.find('/', first.size()) != std::string::npos;
    });
    if (!can_go) return;
    for (ImageFile& file : files) file.path.erase(0, first.size());
    std::erase_if(folders, [&](const std::string& folder) { return !folder.starts_with(first); });
    for (std::string& folder : folders) folder.erase(0, first.size());
  }
}

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  RandomAccessFile archive(path_of(options), kHint);
  std::vector<ImageFile> files;
  std::vector<std::string> folders;
  for (TarEntry& entry : read_tar_index(archive)) {
    if (entry.is_folder) {
      folders.push_back(std::move(entry.path));
    } else if (has_image_name(entry.path)) {
      files.push_back({.path = std::move(entry.path),
                       .archive = 0,
                       .offset = entry.offset,
                       .bytes = entry.bytes});
    }
  }
  strip_common_folder(files, folders);
  EncodedFiles content =
      sorted_by_class("tar_folder", std::move(files), folders, archive.path(), kHint);
  content.archives.push_back(std::move(archive));
  return std::make_shared<EncodedDataset>(std::move(content));
}

const RegisteredDataset registered("tar_folder",
                                   "class folders of JPEG or PNG files inside root/train.tar and "
                                   "root/test.tar (or val.tar)",
                                   open);

}  // namespace
}  // namespace vtrain
