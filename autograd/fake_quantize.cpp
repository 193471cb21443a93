#include "autograd/fake_quantize.h"

#include <utility>

#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

Op op_of(const Tensor& scale, const CodeRange& range) {
  return {"fake_quantize",
          {{"zero_point", static_cast<double>(range.zero_point)},
           {"low", static_cast<double>(range.low)},
           {"high", static_cast<double>(range.high)},
           {"axis", scale.numel() == 1 ? -1 : 0}}};
}

}  // namespace

Variable fake_quantize(const Variable& x, const Tensor& scale, const CodeRange& range) {
  if (!x.requires_grad())
    return Variable::from(op_of(scale, range), fake_quantize(x.value(), scale, range), {x, scale},
                          nullptr);
  MaskedFakeQuantize rounded = fake_quantize_with_mask(x.value(), scale, range);
  return Variable::from(op_of(scale, range), std::move(rounded.y), {x, scale},
                        [inside = std::move(rounded.inside)](const Tensor& dy) {
                          return Grads{dy.is_sole_owner() ? fake_quantize_grad_in_place(inside, dy)
                                                          : fake_quantize_grad(inside, dy),
                                       Tensor()};
                        });
}

Variable learned_fake_quantize(const Variable& x, const Variable& scale, const CodeRange& range,
                               double scale_gradient) {
  if (range.zero_point != 0)
    throw ShapeError(str("[learned_fake_quantize] zero point: expected 0, got ", range.zero_point));
  return Variable::from(
      op_of(scale.value(), range), fake_quantize(x.value(), scale.value(), range), {x, scale},
      [x = Saved(x.value()), scale = Saved(scale.value()), range,
       scale_gradient](const Tensor& dy) {
        const LearnedScaleGrads grads =
            dy.is_sole_owner() ? learned_scale_grad_in_place(x.get(), scale.get(), range, dy)
                               : learned_scale_grad(x.get(), scale.get(), range, dy);
        return Grads{grads.dx, multiply(grads.dscale, scale_gradient)};
      });
}

}  // namespace vtrain
