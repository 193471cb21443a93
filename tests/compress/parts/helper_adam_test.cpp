#include "compress/parts/helper_adam.h"

#include <doctest/doctest.h>

#include <cmath>

namespace vtrain {
namespace {

using doctest::Approx;

Parameter parameter_of(const Tensor& value) {
  Parameter p(value.shape(), Init::zeros());
  p.set(value);
  return p;
}

TEST_CASE("helper_adam: three updates worked in plain loops") {
  const Parameter p = parameter_of(from_values({2}, {1, -2}));
  HelperAdam adam({p}, {.lr = 0.1, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-3});
  std::vector<double> expected{1, -2}, m{0, 0}, v{0, 0};
  const std::vector<std::vector<double>> gradients{{0.3, -1}, {0.1, 0.5}, {-2, 0.25}};
  for (size_t t = 0; t < 3; ++t) {
    p.set_grad(from_values({2}, gradients[t]));
    adam.step();
    for (size_t i = 0; i < 2; ++i) {
      const double g = gradients[t][i], age = static_cast<double>(t + 1);
      m[i] = 0.5 * m[i] + 0.5 * g;
      v[i] = 0.9 * v[i] + 0.1 * g * g;
      expected[i] -= 0.1 * (m[i] / (1 - std::pow(0.5, age))) /
                     (std::sqrt(v[i] / (1 - std::pow(0.9, age))) + 1e-3);
      CHECK(p.value().to_vector()[i] == Approx(expected[i]).epsilon(1e-5));
    }
    CHECK(!p.grad().defined());  // taken away
  }
}

TEST_CASE("helper_adam: without gradients nothing moves and no update is counted") {
  const Parameter p = parameter_of(ones({3}));
  HelperAdam adam({p}, {});
  adam.step();
  CHECK(p.value().to_vector() == std::vector<double>{1, 1, 1});
  for (const Parameter& state : adam.parameters()) {
    CHECK(state.is_buffer());  // no optimizer trains it
    for (const double x : state.value().to_vector()) CHECK(x == 0);
  }
}

TEST_CASE("helper_adam: one that gets another's buffers goes on as it") {
  const Parameter p = parameter_of(ones({2})), q = parameter_of(ones({2}));
  HelperAdam first({p}, {}), second({q}, {});
  const auto update = [](const Parameter& parameter, HelperAdam& adam, double gradient) {
    parameter.set_grad(full({2}, gradient));
    adam.step();
  };
  for (const double g : {1.0, -3.0}) update(p, first, g);
  Parameter(q).set(p.value());
  for (size_t i = 0; i < first.parameters().size(); ++i)
    second.parameters()[i].set(first.parameters()[i].value());
  update(p, first, 0.5);
  update(q, second, 0.5);
  CHECK(p.value().to_vector() == q.value().to_vector());
}

}  // namespace
}  // namespace vtrain
