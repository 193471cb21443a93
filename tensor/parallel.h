#pragma once

#include <cstdint>
#include <type_traits>

namespace vtrain {

/// Threads that kernels use: OpenMP's, set once by the program. Results of reductions may depend on
/// it, so a run records it.
int num_threads();
void set_num_threads(int threads);

namespace parallel_detail {
using Body = void (*)(void* context, int64_t begin, int64_t end, int thread);
void run(int64_t count, int64_t grain, Body body, void* context);
}  // namespace parallel_detail

/// f(begin, end) or f(begin, end, thread) on contiguous shares of [0, count), one share per thread;
/// shares depend on count, grain and the number of threads only. Runs in the caller if count <=
/// grain. `f` must not throw.
template <class F>
void parallel_for(int64_t count, int64_t grain, F&& f) {
  using Function = std::remove_reference_t<F>;
  parallel_detail::run(
      count, grain,
      [](void* context, int64_t begin, int64_t end, int thread) {
        Function& body = *static_cast<Function*>(context);
        if constexpr (std::is_invocable_v<Function&, int64_t, int64_t, int>) {
          body(begin, end, thread);
        } else {
          body(begin, end);
        }
      },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace vtrain
