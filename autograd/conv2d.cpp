#include "autograd/conv2d.h"

namespace vtrain {
namespace {

std::vector<std::pair<std::string, double>> attributes_of(const Conv2dOptions& o) {
  const auto number = [](int64_t v) { return static_cast<double>(v); };
  return {{"stride_h", number(o.stride.h)},     {"stride_w", number(o.stride.w)},
          {"pad_top", number(o.padding.top)},   {"pad_bottom", number(o.padding.bottom)},
          {"pad_left", number(o.padding.left)}, {"pad_right", number(o.padding.right)},
          {"dilation_h", number(o.dilation.h)}, {"dilation_w", number(o.dilation.w)},
          {"groups", number(o.groups)}};
}

}  // namespace

Variable conv2d(const Variable& x, const Variable& w, const Variable& b,
                const Conv2dOptions& options) {
  const Tensor y = conv2d(x.value(), w.value(), b.defined() ? b.value() : Tensor(), options);
  const int64_t macs = y.numel() * (w.value().numel() / w.dim(0));
  const Saved saved_x = w.requires_grad() ? x : Variable(),
              saved_w = x.requires_grad() ? w.value() : Tensor();
  return Variable::from(
      {"conv2d", attributes_of(options), macs}, y, {x, w, b},
      [saved_x, saved_w, x_shape = x.shape(), w_shape = w.shape(), need_b = b.requires_grad(),
       options](const Tensor& dy) {
        return Grads{
            saved_w.defined() ? conv2d_grad_x(dy, saved_w.get(), x_shape, options) : Tensor(),
            saved_x.defined() ? conv2d_grad_w(dy, saved_x.get(), w_shape, options) : Tensor(),
            need_b ? conv2d_grad_b(dy) : Tensor()};
      });
}

}  // namespace vtrain
