#include <algorithm>

#include "compress/deploy/int8_dots_simd.h"
#include "compress/deploy/int8_parts.h"
#include "tensor/cpu_level.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kPositions = 32;  // outputs that are computed from one gathered block
constexpr int64_t kGrainProducts = 200000;

const Int8DotsSimd& simd() {
  return by_level(baseline::int8_dots_simd, avx2::int8_dots_simd, avx512::int8_dots_simd,
                  avx512_bf16::int8_dots_simd);
}

/// f(tap, first element of the pixel) for every tap of an output inside the image.
template <class F>
void for_taps(const Int8Geometry& g, int64_t position, const F& f) {
  const Conv2dOptions& o = g.options;
  const int64_t column = position % g.w_out, row = position / g.w_out % g.h_out,
                n = position / g.w_out / g.h_out;
  for (int64_t p = 0; p < g.kernel_h; ++p) {
    const int64_t i = row * o.stride.h + p * o.dilation.h - o.padding.top;
    if (i < 0 || i >= g.h_in) continue;
    for (int64_t q = 0; q < g.kernel_w; ++q) {
      const int64_t j = column * o.stride.w + q * o.dilation.w - o.padding.left;
      if (j < 0 || j >= g.w_in) continue;
      f(p * g.kernel_w + q, ((n * g.h_in + i) * g.w_in + j) * g.c_in);
    }
  }
}

/// The formula in passes over a few numbers that the compiler makes vectors of; each operation is
/// that of Int8Epilogue.
class EpilogueRow {
 public:
  EpilogueRow(const Int8Epilogue& e, const void* residual, void* y)
      : e_(e), residual_(residual), y_(y) {}

  /// y[i ...] of `count` sums of the channels from `channel` on.
  void write(const int32_t* sums, int64_t channel, int64_t count, int64_t i) {
    if (e_.output == DType::i32) {
      std::copy_n(sums, count, static_cast<int32_t*>(y_) + i);
      return;
    }
    for (int64_t done = 0; done < count; done += kMost)
      write_some(sums + done, channel + done, std::min(kMost, count - done), i + done);
  }

 private:
  static constexpr int64_t kMost = 64;

  void write_some(const int32_t* sums, int64_t channel, int64_t count, int64_t i) {
    for (int64_t k = 0; k < count; ++k) reals_[k] = static_cast<float>(sums[k]);
    if (!e_.bias.empty()) {
      const float* const bias = e_.bias.data() + channel;
      for (int64_t k = 0; k < count; ++k) reals_[k] += bias[k];
    }
    const float* const scale = e_.scale.data() + channel;
    for (int64_t k = 0; k < count; ++k) reals_[k] *= scale[k];
    if (e_.adds_residual && e_.residual == DType::f32) {
      add(static_cast<const float*>(residual_) + i, count);
    } else if (e_.adds_residual && e_.residual == DType::i8) {
      add(static_cast<const int8_t*>(residual_) + i, count);
    } else if (e_.adds_residual) {
      add(static_cast<const uint8_t*>(residual_) + i, count);
    }
    for (int64_t k = 0; k < count; ++k)
      reals_[k] = std::min(std::max(reals_[k], e_.floor), e_.ceiling);
    if (e_.output == DType::f32) {
      std::copy_n(reals_, count, static_cast<float*>(y_) + i);
      return;
    }
    int32_t codes[kMost];
    for (int64_t k = 0; k < count; ++k) codes[k] = e_.code(reals_[k]);
    auto* const bytes = static_cast<uint8_t*>(y_) + i;  // the lowest byte, of i8 and u8 alike
    for (int64_t k = 0; k < count; ++k) bytes[k] = static_cast<uint8_t>(codes[k]);
  }
  template <class T>
  void add(const T* residual, int64_t count) {
    const auto zero = static_cast<float>(e_.residual_zero_point);
    for (int64_t k = 0; k < count; ++k)
      reals_[k] += e_.residual_scale * (static_cast<float>(residual[k]) - zero);
  }

  const Int8Epilogue& e_;
  const void* residual_;
  void* y_;
  float reals_[kMost] = {};
};

}  // namespace

ExactInt8Kernel::ExactInt8Kernel(const int8_t* weight, const Int8Geometry& g)
    : is_depthwise_(g.options.groups > 1 && g.options.groups == g.c_in && g.c_in == g.c_out),
      length_((g.taps() + 1) / 2 * 2) {
  const int64_t depth = g.c_in / g.options.groups, area = g.kernel_h * g.kernel_w,
                per_group = g.c_out / g.options.groups;
  if (is_depthwise_) {
    columns_ = g.c_out;
    weights_.resize(static_cast<size_t>(area * g.c_out));
    for (int64_t o = 0; o < g.c_out; ++o) {
      for (int64_t k = 0; k < area; ++k)
        weights_[static_cast<size_t>(k * g.c_out + o)] = int16_t{weight[o * area + k]};
    }
    return;
  }
  columns_ = (per_group + kInt8Columns - 1) / kInt8Columns * kInt8Columns;
  weights_.resize(static_cast<size_t>(g.options.groups * columns_ * length_));
  for (int64_t o = 0; o < g.c_out; ++o) {
    const int64_t group = o / per_group, column = o % per_group;
    for (int64_t c = 0; c < depth; ++c) {
      for (int64_t k = 0; k < area; ++k) {
        const int64_t tap = k * depth + c;
        const int64_t at = group * columns_ * length_ + (tap / 2 * columns_ + column) * 2 + tap % 2;
        weights_[static_cast<size_t>(at)] = int16_t{weight[(o * depth + c) * area + k]};
      }
    }
  }
}

template <class T>
void ExactInt8Kernel::products(const Int8Geometry& g, const Int8Epilogue& e, const T* x,
                               const void* residual, void* y) const {
  const int64_t depth = g.c_in / g.options.groups, per_group = g.c_out / g.options.groups,
                positions = g.n * g.h_out * g.w_out;
  const int64_t blocks = (positions + kPositions - 1) / kPositions;
  const int64_t work = kPositions * g.options.groups * columns_ * length_;
  parallel_for(blocks, 1 + kGrainProducts / work, [&](int64_t begin, int64_t end) {
    std::vector<int16_t> patches(static_cast<size_t>(kPositions * length_));
    std::vector<int32_t> sums(static_cast<size_t>(kPositions * columns_));
    EpilogueRow results(e, residual, y);
    for (int64_t at = begin; at < end; ++at) {
      const int64_t first = at * kPositions, rows = std::min(kPositions, positions - first);
      for (int64_t group = 0; group < g.options.groups; ++group) {
        std::ranges::fill(patches, int16_t{0});  // padding, and what makes the length even
        for (int64_t i = 0; i < rows; ++i) {
          for_taps(g, first + i, [&](int64_t tap, int64_t pixel) {
            const T* const from = x + pixel + group * depth;
            int16_t* const to = patches.data() + i * length_ + tap * depth;
            for (int64_t c = 0; c < depth; ++c)
              to[c] = static_cast<int16_t>(from[c] - e.input_zero_point);
          });
        }
        simd().dots(patches.data(), rows, weights_.data() + group * columns_ * length_, columns_,
                    length_, sums.data());
        for (int64_t i = 0; i < rows; ++i) {
          results.write(sums.data() + i * columns_, group * per_group, per_group,
                        (first + i) * g.c_out + group * per_group);
        }
      }
    }
  });
}

template <class T>
void ExactInt8Kernel::depthwise(const Int8Geometry& g, const Int8Epilogue& e, const T* x,
                                const void* residual, void* y) const {
  const int64_t channels = g.c_out;
  parallel_for(g.n * g.h_out * g.w_out, 1 + kGrainProducts / (channels * g.taps()),
               [&](int64_t begin, int64_t end) {
                 std::vector<int32_t> sums(static_cast<size_t>(channels));
                 EpilogueRow results(e, residual, y);
                 for (int64_t position = begin; position < end; ++position) {
                   std::ranges::fill(sums, 0);
                   for_taps(g, position, [&](int64_t tap, int64_t pixel) {
                     const T* const from = x + pixel;
                     const int16_t* const w = weights_.data() + tap * channels;
                     int32_t* const to = sums.data();
                     for (int64_t c = 0; c < channels; ++c)
                       to[c] += (from[c] - e.input_zero_point) * w[c];
                   });
                   results.write(sums.data(), 0, channels, position * channels);
                 }
               });
}

void ExactInt8Kernel::run(const Int8Geometry& g, const Int8Epilogue& e, const void* x,
                          const void* residual, void* y) const {
  const auto with = [&](const auto* codes) {
    if (is_depthwise_) {
      depthwise(g, e, codes, residual, y);
    } else {
      products(g, e, codes, residual, y);
    }
  };
  if (e.input == DType::u8) {
    with(static_cast<const uint8_t*>(x));
  } else {
    with(static_cast<const int8_t*>(x));
  }
}

}  // namespace vtrain
