#include "autograd/pool.h"

#include <utility>

namespace vtrain {
namespace {

Op sliding(const char* name, const Pool2dOptions& o) {
  const auto number = [](int64_t n) { return static_cast<double>(n); };
  return {name,
          {{"kernel_h", number(o.kernel.h)},
           {"kernel_w", number(o.kernel.w)},
           {"stride_h", number(o.stride.h == 0 ? o.kernel.h : o.stride.h)},
           {"stride_w", number(o.stride.w == 0 ? o.kernel.w : o.stride.w)},
           {"padding_h", number(o.padding.h)},
           {"padding_w", number(o.padding.w)},
           {"ceil_mode", o.ceil_mode},
           {"count_include_pad", o.count_include_pad}}};
}

Op adaptive(const char* name, Extent2d size) {
  return {name, {{"h", static_cast<double>(size.h)}, {"w", static_cast<double>(size.w)}}};
}

Variable max_pool(Op op, const Variable& x, PoolWindows windows) {
  const PoolTaps wanted = x.requires_grad() ? PoolTaps::kKeep : PoolTaps::kDrop;
  const auto [y, taps] = max_pool(x.value(), windows, wanted);
  return Variable::from(std::move(op), y, {x},
                        [taps = taps, windows = std::move(windows)](const Tensor& dy) {
                          return Grads{max_pool_grad(dy, taps, windows)};
                        });
}

Variable average_pool(Op op, const Variable& x, PoolWindows windows) {
  const Tensor y = average_pool(x.value(), windows);
  return Variable::from(std::move(op), y, {x}, [windows = std::move(windows)](const Tensor& dy) {
    return Grads{average_pool_grad(dy, windows)};
  });
}

}  // namespace

Variable max_pool2d(const Variable& x, const Pool2dOptions& options) {
  return max_pool(sliding("max_pool2d", options), x,
                  sliding_windows("max_pool2d", x.shape(), options));
}

Variable average_pool2d(const Variable& x, const Pool2dOptions& options) {
  return average_pool(sliding("average_pool2d", options), x,
                      sliding_windows("average_pool2d", x.shape(), options));
}

Variable adaptive_max_pool2d(const Variable& x, Extent2d size) {
  return max_pool(adaptive("adaptive_max_pool2d", size), x,
                  adaptive_windows("adaptive_max_pool2d", x.shape(), size));
}

Variable adaptive_average_pool2d(const Variable& x, Extent2d size) {
  return average_pool(adaptive("adaptive_average_pool2d", size), x,
                      adaptive_windows("adaptive_average_pool2d", x.shape(), size));
}

}  // namespace vtrain
