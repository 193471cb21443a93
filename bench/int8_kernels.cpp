// Times integer layers beside the same layers in f32: milliseconds (best of several runs), giga
// multiply-adds a second, and the kernel that runs.
//
//     build/int8_kernels              VTRAIN_CPU_LEVEL=avx2 build/int8_kernels
#include "compress/deploy/int8_kernels.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "tensor/ops/matmul.h"

namespace vtrain {
namespace {

struct Int8Shape {
  const char* name;
  Shape x, w;
  Conv2dOptions options = {};
};

const std::vector<Int8Shape> kShapes = {
    {"resnet20 3x3, 16", {8, 16, 32, 32}, {16, 16, 3, 3}, {.padding = 1}},
    {"resnet20 3x3, 64", {8, 64, 8, 8}, {64, 64, 3, 3}, {.padding = 1}},
    {"resnet50 3x3, 64", {1, 64, 56, 56}, {64, 64, 3, 3}, {.padding = 1}},
    {"resnet50 1x1, 256 to 64", {1, 256, 56, 56}, {64, 256, 1, 1}},
    {"resnet50 3x3, 256", {1, 256, 14, 14}, {256, 256, 3, 3}, {.padding = 1}},
    {"depthwise 3x3, 144", {1, 144, 56, 56}, {144, 1, 3, 3}, {.padding = 1, .groups = 144}},
    {"deit-small fc1", {1, 197, 384}, {1536, 384}},
};

double best_seconds(const std::function<void()>& run) {
  double best = 1e9, total = 0;
  for (int i = 0; i < 2 || (i < 50 && total < 1); ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) best = std::min(best, seconds);  // the first prepares
    total += seconds;
  }
  return best;
}

void time_shape(const Int8Shape& s) {
  const bool is_linear = s.w.size() == 2;
  const Int8Layer layer{.weight = full(s.w, 3, DType::i8),
                        .weight_scale = full({s.w[0]}, 0.01),
                        .bias = zeros({s.w[0]}),
                        .input = {.scale = 0.1F, .range = {.low = 0, .high = 255}},
                        .result = is_linear ? Int8Output::kReals : Int8Output::kCodes,
                        .output = {.scale = 1, .range = {.low = 0, .high = 255}}};
  const Tensor w = full(s.w, 0.01), b = zeros({s.w[0]});
  const Tensor plain = full(s.x, 1), codes = full(s.x, 7, DType::u8);
  double macs = 0, f32 = 0, int8 = 0;
  std::string kernel;
  if (is_linear) {
    const Int8Linear integer(layer);
    Tensor y = integer.run(codes);
    macs = static_cast<double>(y.numel() * s.w[1]);
    int8 = best_seconds([&] { integer.run(codes, {}, y); });
    f32 = best_seconds([&] { linear(plain, w, b); });
    kernel = integer.implementation(s.x);
  } else {
    const Int8Conv2d conv(layer, s.options);
    const Tensor image = plain.channels_last(), image_codes = codes.channels_last();
    Tensor y = conv.run(image_codes);
    macs = static_cast<double>(y.numel()) * static_cast<double>(numel_of(s.w)) /
           static_cast<double>(s.w[0]);
    int8 = best_seconds([&] { conv.run(image_codes, {}, y); });
    f32 = best_seconds([&] { conv2d(image, w, b, s.options); });
    kernel = conv.implementation(s.x);
  }
  std::printf("%-24s  f32 %7.3f ms %6.0f GMAC/s   int8 %7.3f ms %6.0f GMAC/s   %5.2f x   %s\n",
              s.name, f32 * 1e3, macs / f32 * 1e-9, int8 * 1e3, macs / int8 * 1e-9, f32 / int8,
              kernel.c_str());
}

}  // namespace
}  // namespace vtrain

int main() {
  try {
    for (const vtrain::Int8Shape& shape : vtrain::kShapes) vtrain::time_shape(shape);
    return 0;
  } catch (const vtrain::Error& error) {
    std::fprintf(stderr, "int8_kernels: %s\n", error.what());
    return 1;
  }
}
