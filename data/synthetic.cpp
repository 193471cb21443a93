// Images that need no files, for benchmarks and tests: a grating whose direction and frequency are
// the class, at a random phase, under noise.
//   pixel(y, x, c) = 128 + 64 cos(2 pi f (x cos t + y sin t) / height + phase + c) + noise
//   t = pi (k mod D) / D    f = 3 (1 + k / D)    D = 16 directions, or as many as there are classes
// A random phase makes the mean image of every class the same grey: a linear classifier learns
// nothing, a convolution does.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/dataset.h"
#include "tensor/error.h"
#include "tensor/random.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

class Synthetic final : public Dataset {
 public:
  Synthetic(const GeneratedSize& size, Split split)
      : size_(size), stream_(/*seed=*/0, name_of(split), "data.synthetic") {
    if (size_.samples == 0) size_.samples = split == Split::kTrain ? 10000 : 2000;
    const ImageSize& image = size_.image;
    if (size_.samples < 1 || size_.classes < 2 || image.channels < 1 || image.height < 1 ||
        image.width < 1) {
      throw DataError(str("synthetic: expected at least 1 sample, 2 classes and 1 pixel, got ",
                          size_.samples, ", ", size_.classes, " and ",
                          shape_text({image.channels, image.height, image.width})));
    }
  }

  std::string name() const override { return "synthetic"; }
  int64_t size() const override { return size_.samples; }
  ImageSize image_size() const override { return size_.image; }
  std::vector<std::string> class_names() const override {
    std::vector<std::string> names;
    for (int64_t k = 0; k < size_.classes; ++k) names.push_back(str("grating ", k));
    return names;
  }
  std::vector<double> default_mean() const override { return per_channel(0.5); }
  std::vector<double> default_std() const override { return per_channel(0.2); }
  int label(int64_t i) const override { return static_cast<int>(i % size_.classes); }
  void image(int64_t i, uint8_t* hwc) const override;

 private:
  std::vector<double> per_channel(double value) const {
    return std::vector<double>(static_cast<size_t>(size_.image.channels), value);
  }

  GeneratedSize size_;
  Random stream_;
};

/// Bytes of noise, sixteen from one Philox block, so that large images stay cheap.
class Noise {
 public:
  explicit Noise(std::array<uint32_t, 2> key) : key_(key) {}
  float next() {  // uniform in [-40, 40)
    if (used_ == 16) {
      words_ = philox({block_++, 0, 0, 0}, key_);
      used_ = 0;
    }
    const uint32_t byte = words_[used_ / 4] >> (used_ % 4 * 8) & 0xFF;
    ++used_;
    return (static_cast<float>(byte) - 128) * (40.0F / 128);
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> words_{};
  uint32_t block_ = 0;
  size_t used_ = 16;
};

void Synthetic::image(int64_t i, uint8_t* hwc) const {
  const auto [channels, height, width] = size_.image;
  const int64_t directions = std::min<int64_t>(size_.classes, 16), k = label(i);
  const double t =
      std::numbers::pi * static_cast<double>(k % directions) / static_cast<double>(directions);
  const int64_t turn = k / directions;  // classes beyond one turn of directions get finer waves
  const double f = 3 * static_cast<double>(1 + turn);
  const double radians = 2 * std::numbers::pi * f / static_cast<double>(height);
  const double phase = 2 * std::numbers::pi * stream_.uniform(0, i, 0);
  Noise noise({stream_.bits(0, i, 1), stream_.bits(0, i, 2)});

  // cos(a + b) from cosines and sines of a row and of a column: height + width of them instead of a
  // product.
  const auto waves = [](int64_t n, double step, double start) {
    std::vector<std::pair<float, float>> wave;
    for (int64_t j = 0; j < n; ++j) {
      const double angle = start + step * static_cast<double>(j);
      wave.emplace_back(std::cos(angle), std::sin(angle));
    }
    return wave;
  };
  const auto columns = waves(width, radians * std::cos(t), 0);
  const auto rows = waves(height, radians * std::sin(t), phase);
  const auto shifts = waves(channels, 1, 0);
  for (const auto& [row_cos, row_sin] : rows) {
    for (const auto& [column_cos, column_sin] : columns) {
      const float c = row_cos * column_cos - row_sin * column_sin;
      const float s = row_sin * column_cos + row_cos * column_sin;
      for (const auto& [shift_cos, shift_sin] : shifts) {
        const float value = 128 + 64 * (c * shift_cos - s * shift_sin) + noise.next();
        *hwc++ = static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
      }
    }
  }
}

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  if (!options.root.empty()) {
    throw DataError(str("data.root: synthetic reads no files, got ", options.root));
  }
  return std::make_shared<Synthetic>(options.generated, options.split);
}

const RegisteredDataset registered("synthetic",
                                   "generated gratings under noise, no files: for benchmarks and "
                                   "tests",
                                   open);

}  // namespace
}  // namespace vtrain
