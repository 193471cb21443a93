// The loops of data/resize.h, here for the optimisation that *_cpu.cpp files get.
#include <algorithm>

#include "data/resize.h"

namespace vtrain::resize_detail {
namespace {

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

uint8_t rounded(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

template <int kChannels>
void scale_row_of(const uint8_t* source, const Weights& w, int64_t count, uint8_t* result) {
  const int32_t* weights = w.weights.data();
  for (int64_t i = 0; i < count; ++i, weights += w.most, result += kChannels) {
    const uint8_t* pixel = source + int64_t{w.first[static_cast<size_t>(i)]} * kChannels;
    const int32_t length = w.length[static_cast<size_t>(i)];
    int32_t sum[kChannels];
    std::fill_n(sum, kChannels, kHalf);
    for (int32_t t = 0; t < length; ++t, pixel += kChannels) {
      for (int c = 0; c < kChannels; ++c) sum[c] += pixel[c] * weights[t];
    }
    for (int c = 0; c < kChannels; ++c) result[c] = rounded(sum[c]);
  }
}

}  // namespace

void scale_row(const uint8_t* source, const Weights& w, int64_t count, int64_t channels,
               uint8_t* result) {
  if (channels == 1) {
    scale_row_of<1>(source, w, count, result);
  } else {
    scale_row_of<3>(source, w, count, result);
  }
}

void blend_rows(const uint8_t* source, int64_t stride, const int32_t* weights, int64_t length,
                int64_t bytes, uint8_t* result) {
  constexpr int64_t kStrip = 64;  // sums that stay in registers or L1
  for (int64_t x = 0; x < bytes; x += kStrip) {
    const int64_t n = std::min(kStrip, bytes - x);
    int32_t sum[kStrip];
    std::fill_n(sum, kStrip, kHalf);
    for (int64_t t = 0; t < length; ++t) {
      const uint8_t* const row = source + t * stride + x;
      const int32_t weight = weights[t];
      if (n == kStrip) {
        for (int64_t i = 0; i < kStrip; ++i) sum[i] += row[i] * weight;
      } else {
        for (int64_t i = 0; i < n; ++i) sum[i] += row[i] * weight;
      }
    }
    for (int64_t i = 0; i < n; ++i) result[x + i] = rounded(sum[i]);
  }
}

}  // namespace vtrain::resize_detail
