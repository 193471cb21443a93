#include <algorithm>

#include "compress/deploy/int8_dots_simd.h"
#include "compress/deploy/int8_parts.h"
#include "tensor/cpu_level.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kMultiple = 32;  // of what a vector holds at the highest level
constexpr int64_t kGrainProducts = 200000;

const Int8DotsSimd& simd() {
  return by_level(baseline::int8_dots_simd, avx2::int8_dots_simd, avx512::int8_dots_simd,
                  avx512_bf16::int8_dots_simd);
}

/// The inputs of the outputs (n, row, 0 .. w_out - 1) in one group, a row of `length` each, in the
/// order of the weights. `patches` is 0 where nothing is written: padding, and behind the taps.
template <class T>
void gather_row(const Int8Geometry& g, const T* x, int32_t zero_point, int64_t n, int64_t row,
                int64_t group, int64_t length, int16_t* patches) {
  const Conv2dOptions& o = g.options;
  const int64_t depth = g.c_in / o.groups;
  for (int64_t column = 0; column < g.w_out; ++column, patches += length) {
    std::fill_n(patches, length, int16_t{0});
    for (int64_t p = 0; p < g.kernel_h; ++p) {
      const int64_t i = row * o.stride.h + p * o.dilation.h - o.padding.top;
      if (i < 0 || i >= g.h_in) continue;
      for (int64_t q = 0; q < g.kernel_w; ++q) {
        const int64_t j = column * o.stride.w + q * o.dilation.w - o.padding.left;
        if (j < 0 || j >= g.w_in) continue;
        const T* const from = x + ((n * g.h_in + i) * g.w_in + j) * g.c_in + group * depth;
        int16_t* const to = patches + (p * g.kernel_w + q) * depth;
        for (int64_t c = 0; c < depth; ++c) to[c] = static_cast<int16_t>(from[c] - zero_point);
      }
    }
  }
}

}  // namespace

ExactInt8Kernel::ExactInt8Kernel(const int8_t* weight, const Int8Geometry& g)
    : length_((g.taps() + kMultiple - 1) / kMultiple * kMultiple) {
  const int64_t depth = g.c_in / g.options.groups, area = g.kernel_h * g.kernel_w;
  weights_.resize(static_cast<size_t>(g.c_out * length_));
  for (int64_t o = 0; o < g.c_out; ++o) {
    for (int64_t c = 0; c < depth; ++c) {
      for (int64_t k = 0; k < area; ++k)
        weights_[static_cast<size_t>(o * length_ + k * depth + c)] =
            weight[(o * depth + c) * area + k];
    }
  }
}

void ExactInt8Kernel::run(const Int8Geometry& g, const Int8Epilogue& e, const void* x,
                          const void* residual, void* y) const {
  const int64_t per_group = g.c_out / g.options.groups;
  const int64_t work = g.w_out * g.c_out * length_;
  parallel_for(g.n * g.h_out, 1 + kGrainProducts / work, [&](int64_t begin, int64_t end) {
    std::vector<int16_t> patches(static_cast<size_t>(g.w_out * length_));
    std::vector<int32_t> sums(static_cast<size_t>(g.w_out * per_group));
    for (int64_t at = begin; at < end; ++at) {
      const int64_t n = at / g.h_out, row = at % g.h_out;
      for (int64_t group = 0; group < g.options.groups; ++group) {
        if (e.input == DType::u8) {
          gather_row(g, static_cast<const uint8_t*>(x), e.input_zero_point, n, row, group, length_,
                     patches.data());
        } else {
          gather_row(g, static_cast<const int8_t*>(x), e.input_zero_point, n, row, group, length_,
                     patches.data());
        }
        simd().dots(patches.data(), g.w_out, weights_.data() + group * per_group * length_,
                    per_group, length_, sums.data());
        for (int64_t i = 0; i < g.w_out * per_group; ++i) {
          const int64_t channel = group * per_group + i % per_group;
          write_result(e, sums[static_cast<size_t>(i)], channel, residual, y,
                       (at * g.w_out + i / per_group) * g.c_out + channel);
        }
      }
    }
  });
}

}  // namespace vtrain
