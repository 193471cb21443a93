#include "tensor/parallel.h"

#include <omp.h>

#include <algorithm>

namespace vtrain {

int num_threads() { return omp_get_max_threads(); }
void set_num_threads(int threads) { omp_set_num_threads(threads); }

namespace parallel_detail {
void run(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  const int64_t shares =
      std::min<int64_t>(num_threads(), (count + grain - 1) / std::max<int64_t>(grain, 1));
  if (shares <= 1) return body(context, 0, count, 0);
#pragma omp parallel num_threads(static_cast <int>(shares))
  {
    const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const int64_t begin = count * thread / team, end = count * (thread + 1) / team;
    if (begin < end) body(context, begin, end, static_cast<int>(thread));
  }
}
}  // namespace parallel_detail

}  // namespace vtrain
