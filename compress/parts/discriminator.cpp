#include "compress/parts/discriminator.h"

#include "autograd/activation.h"
#include "autograd/arithmetic.h"
#include "autograd/losses.h"
#include "autograd/shape.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

constexpr double kSlope = 0.2;

constexpr double kTeacher = 0, kStudent = 1;  // classes
/// (): the mean cost of what logits (N, 1) say of features that are of `label`. A logit stands for
/// two classes, of which the second has 0: so cross entropy is softplus in a stable form.
Variable cost(const Variable& logits, double label) {
  const Tensor& a = logits.value();
  const Tensor labels = full({a.dim(0)}, label, DType::i32, a.device());
  return mean(label_cross_entropy(concat({logits, Variable(zeros_like(a))}, 1), labels));
}

}  // namespace

Discriminator::Discriminator(int64_t in, const std::vector<int64_t>& hidden) {
  std::vector<int64_t> widths = hidden;
  widths.push_back(1);
  for (const int64_t out : widths) {
    layers_.push_back(std::make_unique<Linear>(in, out));
    add(str(layers_.size() - 1), *layers_.back());
    layers_.back()->parameters().front().set_init(Init::he_normal(in));
    in = out;
  }
}

Variable Discriminator::forward(const Variable& h, const Pass& pass) {
  Variable x = h;
  for (size_t i = 0; i < layers_.size(); ++i)
    x = (*layers_[i])(i == 0 ? x : leaky_relu(x, kSlope), pass);
  return x;
}

Pass loss_pass(const Pass& pass, HelperWeights weights) {
  Pass own = pass;
  own.dtype = DType::f32;
  own.wants_grad = weights == HelperWeights::kTrained;
  own.cache = std::make_shared<Pass::Cache>();  // the other's holds weights of the other kind
  return own;
}

Variable discriminator_loss(const Variable& of_teacher, const Variable& of_student) {
  return cost(of_teacher, kTeacher) + cost(of_student, kStudent);
}

Variable deception_loss(const Variable& of_student, AdversarialForm form) {
  return form == AdversarialForm::kNonSaturating ? cost(of_student, kTeacher)
                                                 : -cost(of_student, kStudent);
}

double discriminator_accuracy(const Tensor& of_teacher, const Tensor& of_student) {
  const double teacher = mean(at_least(of_teacher, 0)).item(),
               student = 1 - mean(at_least(of_student, 0)).item();
  return (teacher + student) / 2;
}

}  // namespace vtrain
