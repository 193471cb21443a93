#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace vtrain {

enum class Split { kTrain, kTest };
std::string_view name_of(Split split);  // "train", "test"

/// The content of an image file, JPEG or PNG or what else data/decode.h reads.
struct EncodedImage {
  std::string path;  // for messages; inside an archive "train.tar:cat/1.jpg"
  std::vector<uint8_t> bytes;
};

/// Labelled images in a fixed order. All functions may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::string name() const = 0;
  virtual int64_t size() const = 0;

  /// Whether images are kept as files of their own, which may have different sizes. If not, every
  /// image has image_size(), and `image` gives it.
  virtual bool is_encoded() const { return false; }
  /// Of every image; of encoded ones the size of the first that can be read.
  virtual ImageSize image_size() const = 0;
  virtual std::vector<std::string> class_names() const = 0;
  int64_t classes() const { return static_cast<int64_t>(class_names().size()); }

  /// Per channel, of pixels scaled to [0, 1], over the training split.
  virtual std::vector<double> default_mean() const = 0;
  virtual std::vector<double> default_std() const = 0;

  /// Writes image i, (H, W, C) bytes of image_size(); i in [0, size()). Throws DamagedImage, and
  /// DataError for an encoded image of another size.
  virtual void image(int64_t i, uint8_t* hwc) const = 0;
  /// Reads the file of image i into `file`, if is_encoded(). Throws DamagedImage.
  virtual void encoded(int64_t i, EncodedImage& file) const;
  virtual int label(int64_t i) const = 0;  // in [0, classes())
};

/// What a data set that is generated, not read, is asked to be; files know their own size.
struct GeneratedSize {
  int64_t samples = 0;  // 0: the data set's own choice for the split
  int64_t classes = 10;
  ImageSize image = {};
};

struct DatasetOptions {
  std::string root =
      {};  // folder of the files; "" means the data set's default place, if it has one
  Split split = Split::kTrain;
  GeneratedSize generated = {};
};

using OpenDataset = std::shared_ptr<const Dataset> (*)(const DatasetOptions& options);

struct DatasetEntry {
  std::string name, description, source_file;
  OpenDataset open = nullptr;
};

/// A namespace-scope constant of this type puts a data set into the list. Two of one name abort at
/// start-up, naming both files.
class RegisteredDataset {
 public:
  RegisteredDataset(const std::string& name, const std::string& description, OpenDataset open,
                    const std::string& source_file = __builtin_FILE());
};

std::vector<DatasetEntry> registered_datasets();  // by name

/// Throws DataError for an unknown name, listing those there are, and for files that are missing or
/// damaged.
std::shared_ptr<const Dataset> open_dataset(const std::string& name, const DatasetOptions& options);

}  // namespace vtrain
