#include "tensor/ops/rms_norm_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class T>
void forward(const T* x, const float* weight, int64_t rows, int64_t channels, float eps, T* y,
             float* rrms) {
  const float share = 1.0f / static_cast<float>(channels);
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    Vec squares{};
    for_vectors(channels, [&](auto at) {
      const Vec v = at.load_from(x);  // behind the end 0
      squares += v * v;
    });
    const float scale = 1.0f / __builtin_sqrtf(sum_lanes(squares) * share + eps);
    for_vectors(channels, [&](auto at) {
      Vec v = at.load_from(x) * scale;
      if (weight) v *= at.load_from(weight);
      at.store_to(y, v);
    });
    rrms[r] = scale;
  }
}

template <class T>
void grad(const T* x, const float* weight, const float* rrms, const T* dy, int64_t rows,
          int64_t channels, T* dx, float* dweight) {
  const float share = 1.0f / static_cast<float>(channels);
  for (int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
    Vec dot{};
    for_vectors(channels, [&](auto at) {
      Vec g = at.load_from(dy);
      if (weight) g *= at.load_from(weight);
      dot += g * at.load_from(x);
    });
    const float scale = rrms[r], dot_mean = sum_lanes(dot) * scale * share;
    for_vectors(channels, [&](auto at) {
      const Vec slope = at.load_from(dy), normalised = at.load_from(x) * scale;
      const Vec g = weight ? slope * at.load_from(weight) : slope;
      at.store_to(dx, (g - normalised * dot_mean) * scale);
      at.store_to(dweight, at.load_from(dweight) + slope * normalised);
    });
  }
}

}  // namespace

const RmsNormSimd rms_norm_simd = {{forward<float>, grad<float>},
                                   {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
