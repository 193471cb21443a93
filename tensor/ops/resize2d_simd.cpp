// Vectors run over channels; an output's sum stays in a register.
#include "tensor/ops/resize2d_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class T>
void apply(const ResizeView& view, const T* x, int64_t begin, int64_t end, T* y) {
  const AxisMapView &rows = view.rows, &columns = view.columns;
  const int64_t channels = view.channels, row_step = columns.in * channels;
  for (int64_t r = begin; r < end; ++r) {
    const T* const image = x + r / rows.out * rows.in * row_step;
    const int64_t i = r % rows.out;
    for (int64_t j = 0; j < columns.out; ++j) {
      T* const to = y + (r * columns.out + j) * channels;
      for_vectors(channels, [&](auto at) {
        Vec sum{};
        for (int64_t s = rows.start[i]; s < rows.start[i + 1]; ++s) {
          const T* const row = image + rows.source[s] * row_step;
          for (int64_t t = columns.start[j]; t < columns.start[j + 1]; ++t) {
            const auto weight = static_cast<float>(rows.weight[s] * columns.weight[t]);
            sum += at.load_from(row + columns.source[t] * channels) * weight;
          }
        }
        at.store_to(to, sum);
      });
    }
  }
}

}  // namespace

const Resize2dSimd resize2d_simd = {apply<float>, apply<BFloat16>};

}  // namespace vtrain::VTRAIN_LEVEL
