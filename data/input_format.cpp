#include "data/input_format.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

InputFormat input_format(const Dataset& data, std::optional<int64_t> image_size, double crop_pct,
                         Interpolation interpolation) {
  constexpr int64_t kUsual = 224;  // ImageNet's
  const ImageSize own = data.image_size();
  const bool is_square = own.height == own.width;
  InputFormat input{.size = own, .crop_pct = crop_pct, .interpolation = interpolation};
  if (!image_size && (is_square || !data.is_encoded())) return input;
  const int64_t side = image_size.value_or(kUsual);
  input.is_resized = data.is_encoded() || own.height != side || own.width != side;
  input.size = {own.channels, side, side};
  return input;
}

Scaling evaluation_scaling(const ImageSize& image, const InputFormat& input) {
  const int64_t side = input.size.height;
  const auto shorter = std::max<int64_t>(
      side, static_cast<int64_t>(std::floor(static_cast<double>(side) / input.crop_pct)));
  // The longer side is truncated, as torchvision does.
  const auto scaled = [&](int64_t length, int64_t other) {
    return length <= other ? shorter : shorter * length / other;
  };
  Scaling s{.source = whole(image),
            .height = scaled(image.height, image.width),
            .width = scaled(image.width, image.height),
            .window = {}};
  // Halves go to the even number: Python's round.
  const auto middle = [&](int64_t length) {
    return std::lrint(static_cast<double>(length - side) / 2);
  };
  s.window.top = middle(s.height);
  s.window.left = middle(s.width);
  s.window.bottom = s.window.top + side;
  s.window.right = s.window.left + side;
  return s;
}

}  // namespace vtrain
