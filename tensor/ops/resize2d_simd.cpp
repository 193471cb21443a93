// Vectors run over channels; an output's sum stays in a register. What it reads is worked out once,
// not once per vector.
#include "tensor/ops/resize2d_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

/// One output from its taps; kCount is their number, or 0 for any.
template <int kCount, class T>
void weighted_sum(const T* image, const ResizeTap* taps, int64_t count, int64_t channels, T* y) {
  const int64_t n = kCount > 0 ? kCount : count;
  for_vectors(channels, [&](auto at) {
    Vec sum{};
#pragma GCC unroll 4
    for (int64_t k = 0; k < n; ++k) sum += at.load_from(image + taps[k].from) * taps[k].weight;
    at.store_to(y, sum);
  });
}

template <class T>
void apply(const ResizeView& view, const T* x, int64_t begin, int64_t end, ResizeTap* taps, T* y) {
  const AxisMapView &rows = view.rows, &columns = view.columns;
  const int64_t channels = view.channels, row_step = columns.in * channels;
  for (int64_t r = begin; r < end; ++r) {
    const T* const image = x + r / rows.out * rows.in * row_step;
    const int64_t i = r % rows.out;
    for (int64_t j = 0; j < columns.out; ++j) {
      int64_t count = 0;
      for (int64_t s = rows.start[i]; s < rows.start[i + 1]; ++s) {
        for (int64_t t = columns.start[j]; t < columns.start[j + 1]; ++t) {
          taps[count++] = {rows.source[s] * row_step + columns.source[t] * channels,
                           static_cast<float>(rows.weight[s] * columns.weight[t])};
        }
      }
      T* const to = y + (r * columns.out + j) * channels;
      if (count == 4) {  // bilinear
        weighted_sum<4>(image, taps, count, channels, to);
      } else {
        weighted_sum<0>(image, taps, count, channels, to);
      }
    }
  }
}

}  // namespace

const Resize2dSimd resize2d_simd = {apply<float>, apply<BFloat16>};

}  // namespace vtrain::VTRAIN_LEVEL
