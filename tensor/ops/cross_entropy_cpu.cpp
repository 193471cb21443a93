#include <algorithm>
#include <cmath>

#include "tensor/dispatch.h"
#include "tensor/ops/cross_entropy.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

int64_t grain_of(int64_t classes) {
  return std::max<int64_t>(2048 / std::max<int64_t>(classes, 1), 1);
}

/// One sample; returns its loss.
template <class T, class Wide = Compute<T>>
Wide forward_row(const T* logits, const Wide* targets, int64_t classes, Wide* probabilities) {
  if (classes == 0) return 0;
  const auto logit = [logits](int64_t k) {
    return static_cast<double>(static_cast<Wide>(logits[k]));
  };
  const double top = logit(std::max_element(logits, logits + classes) - logits);
  double sum = 0, loss = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(logit(k) - top);
  const double log_sum = std::log(sum);
  for (int64_t k = 0; k < classes; ++k) {
    const double log_p = logit(k) - top - log_sum;
    probabilities[k] = static_cast<Wide>(std::exp(log_p));
    if (targets[k] != 0) loss -= static_cast<double>(targets[k]) * log_p;
  }
  return static_cast<Wide>(loss);
}

CrossEntropy forward(const Tensor& logits, const Tensor& targets) {
  const int64_t samples = logits.dim(0), classes = logits.dim(1);
  CrossEntropy result{Tensor::empty({samples}, targets.dtype(), logits.device()),
                      empty_like(targets)};
  dispatch_real("cross_entropy", logits.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T* const x = logits.data<T>();
    const Wide* const t = targets.data<Wide>();
    Wide *const loss = result.loss.data<Wide>(), *const p = result.probabilities.data<Wide>();
    parallel_for(samples, grain_of(classes), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        loss[n] = forward_row(x + n * classes, t + n * classes, classes, p + n * classes);
    });
  });
  return result;
}

Tensor grad(const Tensor& probabilities, const Tensor& targets, const Tensor& dloss) {
  const int64_t samples = probabilities.dim(0), classes = probabilities.dim(1);
  Tensor dlogits = empty_like(probabilities);
  dispatch_floating("cross_entropy_grad", probabilities.dtype(), [&]<class T>(T) {
    const T *const p = probabilities.data<T>(), *const t = targets.data<T>(),
                   *const slope = dloss.data<T>();
    T* const dx = dlogits.data<T>();
    parallel_for(samples, grain_of(classes), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < classes; ++k) sum += static_cast<double>(t[n * classes + k]);
        for (int64_t i = n * classes; i < (n + 1) * classes; ++i)
          dx[i] = slope[n] * (static_cast<T>(sum) * p[i] - t[i]);
      }
    });
  });
  return dlogits;
}

const bool registered = cross_entropy_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
