#include "data/encoded_dataset.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "data/decode.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

EncodedDataset::EncodedDataset(EncodedFiles content) : content_(std::move(content)) {
  if (content_.files.empty()) throw DataError(str(content_.name, ": holds no images"));
  EncodedImage file;
  std::string first_error;
  for (int64_t i = 0; i < size(); ++i) {
    try {
      encoded(i, file);
      first_size_ = open_image(file.bytes, {.path = file.path})->size();
      return;
    } catch (const DamagedImage& damaged) {
      if (first_error.empty()) first_error = damaged.what();
    }
  }
  throw DataError(
      str(first_error, "; none of the ", size(), " images of ", content_.name, " can be read"));
}

void EncodedDataset::image(int64_t i, uint8_t* hwc) const {
  EncodedImage file;
  encoded(i, file);
  const Image image = decode_image(file.bytes, {.path = file.path});
  if (image.size != first_size_) {
    throw DataError(str(file.path, ": is ", image.size.width, " x ", image.size.height,
                        ", but the first image is ", first_size_.width, " x ", first_size_.height,
                        "; set data.image_size to bring all to one size"));
  }
  std::ranges::copy(image.pixels, hwc);
}

void EncodedDataset::encoded(int64_t i, EncodedImage& file) const {
  const ImageFile& at = content_.files[static_cast<size_t>(i)];
  if (at.archive < 0) {
    file.path = str(content_.folder, '/', at.path);
    try {
      file.bytes = read_file(file.path);
    } catch (const DataError& error) {  // its message begins with the path, too
      throw DamagedImage(file.path, std::string(error.what()).substr(file.path.size() + 2));
    }
    return;
  }
  const RandomAccessFile& archive = content_.archives[static_cast<size_t>(at.archive)];
  file.path = str(archive.path(), ':', at.path);
  file.bytes.resize(static_cast<size_t>(at.bytes));
  const int64_t got = archive.read(at.offset, file.bytes.data(), at.bytes);
  if (got != at.bytes) {
    throw DamagedImage(file.path, str("expected ", at.bytes, " bytes, got ", got));
  }
}

EncodedFiles sorted_by_class(const std::string& name, std::vector<ImageFile> files,
                             const std::vector<std::string>& folders, const std::string& where,
                             const std::string& hint) {
  std::map<std::string, int64_t, std::less<>> images;  // of each class
  for (const std::string& folder : folders) images.try_emplace(folder.substr(0, folder.find('/')));
  std::erase_if(files, [](const ImageFile& file) {
    return !has_image_name(file.path) || file.path.find('/') == std::string::npos;
  });
  for (const ImageFile& file : files) ++images[file.path.substr(0, file.path.find('/'))];
  if (images.empty()) {
    throw DataError(str(where, ": holds no classes: expected a folder of images for each; ", hint));
  }
  EncodedFiles sorted{.name = name, .class_names = {}, .files = {}};
  std::map<std::string_view, int> label;
  for (const auto& [class_name, count] : images) {
    if (count == 0) {
      throw DataError(str(where, ": class ", class_name, " holds no images; ", hint));
    }
    label[class_name] = static_cast<int>(sorted.class_names.size());
    sorted.class_names.push_back(class_name);
  }
  const auto place = [](const ImageFile& file) {  // folder, name
    const std::string_view path = file.path;
    const size_t slash = path.rfind('/');
    return std::pair(path.substr(0, slash), path.substr(slash + 1));
  };
  const auto class_of = [](const ImageFile& file) {
    return std::string_view(file.path).substr(0, file.path.find('/'));
  };
  for (ImageFile& file : files) file.label = label.at(class_of(file));
  std::ranges::sort(files, [&](const ImageFile& a, const ImageFile& b) {
    return std::tuple(a.label, place(a)) < std::tuple(b.label, place(b));
  });
  sorted.files = std::move(files);
  return sorted;
}

}  // namespace vtrain
