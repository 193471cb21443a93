#pragma once

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "tensor/str.h"

namespace vtrain {

/// Images whose first pixel tells which they are: pixel j of image i is (i + j) mod 256; the label
/// is i mod 10. Asking for image `broken` throws std::runtime_error.
class HandmadeDataset : public Dataset {
 public:
  explicit HandmadeDataset(int64_t size, ImageSize image = {1, 4, 4}, int64_t broken = -1)
      : size_(size), broken_(broken), image_(image) {}
  std::string name() const override { return "handmade"; }
  int64_t size() const override { return size_; }
  ImageSize image_size() const override { return image_; }
  std::vector<std::string> class_names() const override {
    return std::vector<std::string>(10, "k");
  }
  std::vector<double> default_mean() const override { return per_channel(0); }
  std::vector<double> default_std() const override { return per_channel(1.0 / 255); }
  void image(int64_t i, uint8_t* hwc) const override {
    if (i == broken_) throw std::runtime_error(str("image ", i, " is broken"));
    for (int64_t j = 0; j < image_.numel(); ++j) hwc[j] = static_cast<uint8_t>(i + j);
  }
  int label(int64_t i) const override { return static_cast<int>(i % 10); }

 private:
  std::vector<double> per_channel(double x) const {
    return std::vector<double>(static_cast<size_t>(image_.channels), x);
  }
  int64_t size_, broken_;
  ImageSize image_;
};

}  // namespace vtrain
