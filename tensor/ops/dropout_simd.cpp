#include "tensor/ops/dropout_simd.h"

#include "tensor/simd.h"
#include "tensor/simd_ints.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class T>
void forward(const T* x, const float* noise, float rate, int64_t n, T* y, uint8_t* kept) {
  const float scale = 1 / (1 - rate);
  for_vectors(n, [&](auto at) {
    const IVec is_kept = at.load_from(noise) >= splat(rate);
    at.store_to(y, choose(is_kept, at.load_from(x) * scale, Vec{}));
    store_ints(kept, is_kept & 1, at);
  });
}

template <class T>
void grad(const T* dy, const uint8_t* kept, float rate, int64_t n, T* dx) {
  const float scale = 1 / (1 - rate);
  for_vectors(n, [&](auto at) {
    at.store_to(dx, choose(load_ints(kept, at) != IVec{}, at.load_from(dy) * scale, Vec{}));
  });
}

}  // namespace

const DropoutSimd dropout_simd = {{forward<float>, grad<float>},
                                  {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
