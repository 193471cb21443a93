#include "tensor/convert_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class From, class To>
void convert(const From* from, To* to, int64_t n) {
  for_vectors(n, [&](auto at) { at.store_to(to, at.load_from(from)); });
}

}  // namespace

const ConvertSimd convert_simd = {convert<BFloat16, float>, convert<float, BFloat16>};

}  // namespace vtrain::VTRAIN_LEVEL
