#include "nn/parameter.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"

namespace vtrain {
namespace {

Pass wants_grad() {
  Pass pass;
  pass.wants_grad = true;
  return pass;
}

TEST_CASE("parameter: it is a leaf for a pass that wants gradients, else a constant") {
  const Parameter p({2}, Init::ones());
  CHECK(p.raw(wants_grad()).requires_grad());
  CHECK_FALSE(p.raw(Pass{}).requires_grad());
}

TEST_CASE("parameter: a buffer and a frozen parameter are constants") {
  const Parameter buffer({2}, Init::ones(), /*is_buffer=*/true), p({2}, Init::ones());
  CHECK_FALSE(buffer.raw(wants_grad()).requires_grad());
  p.freeze(true);
  CHECK_FALSE(p.raw(wants_grad()).requires_grad());
  p.freeze(false);
  CHECK(p.raw(wants_grad()).requires_grad());
}

TEST_CASE("parameter: copies of a handle see edits") {
  Parameter p({2}, Init::ones());
  const Parameter same = p;
  p.set(from_values({2}, {3, 4}));
  CHECK(same.value().to_vector() == std::vector<double>{3, 4});
  CHECK(same == p);
}

TEST_CASE("parameter: set copies, and refuses another shape by its path") {
  Parameter p({2}, Init::ones());
  p.set_path("head.bias");
  Tensor source = from_values({2}, {3, 4});
  p.set(source);
  source.fill(0);
  CHECK(p.value().to_vector() == std::vector<double>{3, 4});
  CHECK_THROWS_WITH_AS(p.set(ones({3})), "parameter head.bias: expected shape (2), got (3)",
                       CheckpointError);
}

TEST_CASE("parameter: gradients arrive at every handle and go when cleared") {
  Parameter p({2}, Init::ones());
  const Parameter same = p;
  backward(sum(p.effective(wants_grad()) * 3));
  CHECK(same.grad().to_vector() == std::vector<double>{3, 3});
  p.clear_grad();
  CHECK_FALSE(same.grad().defined());
}

TEST_CASE("parameter: a pass computes the effective weight once") {
  const Parameter p({2}, Init::ones());
  const Pass pass = wants_grad(), other = wants_grad();
  CHECK(p.effective(pass).id() == p.effective(pass).id());
  CHECK(pass.cache != other.cache);
}

}  // namespace
}  // namespace vtrain
