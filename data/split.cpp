#include "data/split.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"
#include "tensor/random.h"
#include "tensor/str.h"

namespace vtrain {

HoldOut hold_out(int64_t samples, const HoldOutOptions& options) {
  std::vector<int64_t> order = Random(options.seed, "", "data.val").permutation(samples, 0);
  const int64_t kept = std::min(samples, options.limit.value_or(samples));
  order.resize(static_cast<size_t>(kept));
  const int64_t held = std::llround(options.val * static_cast<double>(kept));
  if (options.val > 0 && (held == 0 || held == kept)) {
    throw DataError(str("data.val: ", options.val, " of ", kept, " samples holds out ", held,
                        "; expected at least 1 and fewer than all"));
  }
  HoldOut result{.train{order.begin() + held, order.end()},
                 .val{order.begin(), order.begin() + held}};
  std::ranges::sort(result.train);
  std::ranges::sort(result.val);
  return result;
}

}  // namespace vtrain
