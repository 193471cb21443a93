#include <algorithm>
#include <type_traits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/resize2d.h"
#include "tensor/ops/resize2d_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

const Resize2dSimd& simd() {
  return by_level(baseline::resize2d_simd, avx2::resize2d_simd, avx512::resize2d_simd,
                  avx512_bf16::resize2d_simd);
}

AxisMapView view_of(const AxisMap& map) {
  return {map.in, map.out, map.start.data(), map.source.data(), map.weight.data()};
}

int64_t most_taps(const AxisMap& map) {
  int64_t most = 0;
  for (size_t i = 0; i + 1 < map.start.size(); ++i)
    most = std::max<int64_t>(most, map.start[i + 1] - map.start[i]);
  return most;
}

namespace reference {
void apply(const ResizeView& v, const double* x, int64_t begin, int64_t end, double* y) {
  for (int64_t r = begin; r < end; ++r) {
    const double* const image = x + r / v.rows.out * v.rows.in * v.columns.in * v.channels;
    const int64_t i = r % v.rows.out;
    for (int64_t j = 0; j < v.columns.out; ++j) {
      for (int64_t c = 0; c < v.channels; ++c) {
        double sum = 0;
        for (int64_t s = v.rows.start[i]; s < v.rows.start[i + 1]; ++s) {
          for (int64_t t = v.columns.start[j]; t < v.columns.start[j + 1]; ++t) {
            const int64_t at = v.rows.source[s] * v.columns.in + v.columns.source[t];
            sum += v.rows.weight[s] * v.columns.weight[t] * image[at * v.channels + c];
          }
        }
        y[(r * v.columns.out + j) * v.channels + c] = sum;
      }
    }
  }
}
}  // namespace reference

void apply(const Tensor& x, const ResizeMaps& maps, Tensor& y) {
  const ResizeView view{x.dim(1), view_of(maps.rows), view_of(maps.columns)};
  const int64_t rows = y.dim(0) * maps.rows.out, row = maps.columns.out * view.channels;
  const auto most = static_cast<size_t>(most_taps(maps.rows) * most_taps(maps.columns));
  dispatch_real("resize2d", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(row, 1)),
                 [&](int64_t begin, int64_t end) {
                   if constexpr (std::is_same_v<T, double>) {
                     reference::apply(view, from, begin, end, to);
                     return;
                   }
                   std::vector<ResizeTap> taps(most);
                   if constexpr (std::is_same_v<T, float>)
                     simd().f32(view, from, begin, end, taps.data(), to);
                   if constexpr (std::is_same_v<T, BFloat16>)
                     simd().bf16(view, from, begin, end, taps.data(), to);
                 });
  });
}

const bool registered = resize2d_kernels.add(DeviceType::cpu(), {apply});

}  // namespace
}  // namespace vtrain
