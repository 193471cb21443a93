#include "autograd/losses.h"

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {

Tensor smoothed_targets(const Tensor& labels, int64_t num_classes, double smoothing, DType dtype) {
  if (labels.ndim() != 1)
    throw ShapeError(str("[smoothed_targets] labels ", labels.shape(), ": expected (N)"));
  if (!(smoothing >= 0 && smoothing < 1)) {
    throw ShapeError(
        str("[smoothed_targets] smoothing: expected 0 <= smoothing < 1, got ", smoothing));
  }
  Tensor hard = one_hot(labels, num_classes).to(dtype);
  if (smoothing == 0) return hard;
  return add(multiply(hard, 1 - smoothing), smoothing / static_cast<double>(num_classes));
}

Variable label_cross_entropy(const Variable& logits, const Tensor& labels, double smoothing) {
  if (logits.ndim() != 2 || labels.shape() != Shape{logits.dim(0)}) {
    throw ShapeError(str("[label_cross_entropy] labels ", labels.shape(),
                         ": expected (N) for logits (N, K), got ", logits.shape()));
  }
  return cross_entropy(logits,
                       smoothed_targets(labels, logits.dim(1), smoothing, logits.value().dtype()));
}

Variable kl_divergence(const Tensor& teacher, const Variable& student, double temperature) {
  check_same_shape("kl_divergence", "teacher", teacher, "student", student.value());
  if (!(temperature > 0))
    throw ShapeError(str("[kl_divergence] temperature: expected above 0, got ", temperature));
  const Variable log_p = log_softmax(Variable(teacher) / temperature, 1),
                 log_q = log_softmax(student / temperature, 1);
  return sum(exp(log_p) * (log_p - log_q), {1});
}

Variable mean_squared_error(const Variable& a, const Variable& b) {
  check_same_shape("mean_squared_error", "a", a.value(), "b", b.value());
  return mean(square(a - b));
}

Variable cosine_similarity(const Variable& a, const Variable& b, int dim, double eps) {
  check_same_shape("cosine_similarity", "a", a.value(), "b", b.value());
  const auto norm = [&](const Variable& v) { return sqrt(sum(square(v), {dim}) + eps * eps); };
  return sum(a * b, {dim}) / (norm(a) * norm(b));
}

}  // namespace vtrain
