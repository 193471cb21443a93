#include "compress/parts/fold_batch_norm.h"

#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "tensor/ops/batch_norm.h"
#include "tensor/ops/conv2d.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

TEST_CASE("fold_batch_norm: two channels by hand") {
  const FoldedLayer folded =
      fold_batch_norm(from_values({2, 1}, {3, 5}, DType::f64), from_values({2}, {1, 2}, DType::f64),
                      {.weight = from_values({2}, {2, -1}, DType::f64),
                       .bias = from_values({2}, {10, 20}, DType::f64),
                       .mean = from_values({2}, {4, 0}, DType::f64),
                       .var = from_values({2}, {3, 0}, DType::f64),
                       .eps = 1});
  CHECK(folded.weight.to_vector() == std::vector<double>{3, -5});  // a = 2 / 2 and -1 / 1
  CHECK(folded.bias.to_vector() == std::vector<double>{7, 18});    // (1 - 4) + 10, -2 + 20
}

TEST_CASE("fold_batch_norm: a convolution without bias and its norm are one convolution") {
  const Random random(8, "", "fold");
  const auto draw = [&](const Shape& shape, int64_t step) {
    return random.normal(shape, {.step = step}, 0, DType::f64);
  };
  const Tensor x = draw({2, 3, 5, 4}, 0), w = draw({4, 3, 3, 3}, 1), gamma = draw({4}, 2),
               beta = draw({4}, 3), mean = draw({4}, 4),
               var = from_values({4}, {0.5, 2, 0.01, 1}, DType::f64);
  const FoldedLayer folded =
      fold_batch_norm(w, {}, {.weight = gamma, .bias = beta, .mean = mean, .var = var});
  Tensor running_mean = mean, running_var = var;
  const Tensor apart = batch_norm(conv2d(x, w, {}, {.padding = 1}), gamma, beta, {}, running_mean,
                                  running_var, {.statistics = BatchNormStatistics::kRunning})
                           .y;
  CHECK(relative_error(conv2d(x, folded.weight, folded.bias, {.padding = 1}), apart) < 1e-12);
}

}  // namespace
}  // namespace vtrain
