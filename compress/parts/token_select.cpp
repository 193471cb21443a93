#include "compress/parts/token_select.h"

#include <cmath>

#include "autograd/tokens.h"
#include "tensor/ops/indexing.h"
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
  return scatter(zeros_like(score), 1, select_top(score, k),
                 ones({score.dim(0), k}, score.dtype(), score.device()));
}

}  // namespace vtrain
