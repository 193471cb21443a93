#include "compress/parts/token_select.h"

#include <cmath>

#include "autograd/tokens.h"
#include "tensor/dispatch.h"
#include "tensor/ops/rows.h"

namespace vtrain {

std::vector<int64_t> keep_counts(int64_t patches, double ratio, int64_t stages) {
  std::vector<int64_t> counts;
  double kept = 1;
  for (int64_t s = 0; s < stages; ++s) {
    kept *= ratio;
    counts.push_back(static_cast<int64_t>(static_cast<double>(patches) * kept));
  }
  return counts;
}

Tokens keep_top(const Tokens& t, const Variable& score, int64_t k) {
  return gather(t, with_special(select_top(score, k), t.num_special));
}

Tensor top_mask(const Tensor& score, int64_t k) {
  const Tensor index = select_top(score, k);
  Tensor mask = zeros(score.shape(), score.dtype(), score.device());
  const int32_t* const at = index.data<int32_t>();
  dispatch_real("top_mask", score.dtype(), [&]<class T>(T) {
    T* const m = mask.data<T>();
    for (int64_t i = 0; i < index.numel(); ++i) m[i / k * score.dim(1) + at[i]] = T(1.0f);
  });
  return mask;
}

}  // namespace vtrain
