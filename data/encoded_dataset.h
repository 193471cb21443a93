#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/read_file.h"

namespace vtrain {

/// ImageNet's, which is what sets of photos are normalised by.
inline const std::vector<double> kImageNetMean = {0.485, 0.456, 0.406};
inline const std::vector<double> kImageNetStd = {0.229, 0.224, 0.225};

/// An image file, on disk or inside an archive.
struct ImageFile {
  std::string path;               // from EncodedFiles::folder, or inside the archive
  int archive = -1;               // of EncodedFiles::archives; -1: a file on disk
  int64_t offset = 0, bytes = 0;  // of its content in the archive
  int label = 0;
};

struct EncodedFiles {
  std::string name;
  std::vector<std::string> class_names;
  std::vector<ImageFile> files;  // in the data set's order
  std::string folder = {};       // of files on disk
  std::vector<RandomAccessFile> archives = {};
};

/// A data set whose images are files, delivered as RGB. Opening it reads headers of images until
/// one can be read: its size is image_size().
class EncodedDataset final : public Dataset {
 public:
  /// Throws DataError if there are no files, or none of them is an image.
  explicit EncodedDataset(EncodedFiles content);

  std::string name() const override { return content_.name; }
  int64_t size() const override { return static_cast<int64_t>(content_.files.size()); }
  bool is_encoded() const override { return true; }
  ImageSize image_size() const override { return first_size_; }
  std::vector<std::string> class_names() const override { return content_.class_names; }
  std::vector<double> default_mean() const override { return kImageNetMean; }
  std::vector<double> default_std() const override { return kImageNetStd; }
  void image(int64_t i, uint8_t* hwc) const override;
  void encoded(int64_t i, EncodedImage& file) const override;
  int label(int64_t i) const override { return content_.files[static_cast<size_t>(i)].label; }

 private:
  EncodedFiles content_;
  ImageSize first_size_;
};

/// Labels files by class as torchvision's ImageFolder does. A path is counted from the folder that
/// holds the classes: its first part is the class, and classes are numbered in order of their
/// names; within a class, files come in order of their folders, then of their names. Files that are
/// not named like images are left out. `folders`: all that there are, so that a class without an
/// image is noticed. `where` and `hint` begin and end messages. Throws DataError for a set without
/// classes and for a class without images.
EncodedFiles sorted_by_class(const std::string& name, std::vector<ImageFile> files,
                             const std::vector<std::string>& folders, const std::string& where,
                             const std::string& hint);

}  // namespace vtrain
