#include "nn/layers/conv2d.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace vtrain {
namespace {

std::vector<std::string> paths(const Module& module) {
  std::vector<std::string> all;
  for (const Parameter& p : module.parameters()) all.push_back(p.path());
  return all;
}

TEST_CASE("conv2d: the layer has PyTorch's parameter names and shapes") {
  Conv2d conv(6, 4, {.kernel = {3, 5}, .groups = 2});
  CHECK(paths(conv) == std::vector<std::string>{"weight", "bias"});
  CHECK(conv.parameters()[0].value().shape() == Shape{4, 3, 3, 5});
  CHECK(conv.parameters()[1].value().shape() == Shape{4});
  CHECK(paths(Conv2d(6, 4, {.has_bias = false})) == std::vector<std::string>{"weight"});
  CHECK_THROWS_WITH_AS(Conv2d(6, 4, {.groups = 4}),
                       "[conv2d] groups 4: expected a divisor of 6 and 4 channels", ShapeError);
}

TEST_CASE("conv2d: weight and bias start uniform in +-1 / sqrt(fan in)") {
  Conv2d conv(8, 64, {.kernel = 3, .groups = 2});
  conv.initialise(3);
  const double bound = 1 / std::sqrt(4.0 * 9);
  for (const Parameter& p : conv.parameters()) {
    const std::vector<double> values = p.value().to_vector();
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    CHECK(*low >= -bound);
    CHECK(*high <= bound);
    // Of 64 draws and more the extremes come within a tenth of the bounds, but for one in 28 cases.
    CHECK(*low < -0.9 * bound);
    CHECK(*high > 0.9 * bound);
  }
}

TEST_CASE("conv2d: the layer is the op on its parameters, in the dtype of the pass") {
  Conv2d conv(5, 7, {.kernel = 3, .stride = 2, .padding = 1});
  conv.initialise(1);
  const Tensor x = Random(1, "", "x").normal({2, 5, 9, 8}, {});
  const Tensor w = conv.parameters()[0].value(), b = conv.parameters()[1].value();
  const Tensor y = conv2d(x, w, b, {.stride = 2, .padding = 1});
  Pass pass;
  CHECK(conv(Variable(x), pass).value().to_vector() == y.to_vector());
  Pass mixed;
  mixed.dtype = DType::bf16;
  const Tensor short_y = conv(Variable(x.to(DType::bf16)), mixed).value();
  CHECK(short_y.dtype() == DType::bf16);
  CHECK(short_y.to_vector() ==
        conv2d(x.to(DType::bf16), w.to(DType::bf16), b, {.stride = 2, .padding = 1}).to_vector());
}

}  // namespace
}  // namespace vtrain
