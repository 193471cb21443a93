#include "nn/init.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace vtrain {
namespace {

std::vector<double> drawn(const Init& init) {
  Tensor value = zeros({200, 100});
  initialise(value, init, Random(3, "", "init_test"));
  return value.to_vector();
}

TEST_CASE("init: fans count as PyTorch's, the outgoing one not divided by groups") {
  CHECK(fans_of({10, 20}).in == 20);
  CHECK(fans_of({10, 20}).out == 10);
  CHECK(fans_of({64, 1, 3, 5}).in == 15);  // depthwise
  CHECK(fans_of({64, 1, 3, 5}).out == 64 * 15);
  CHECK_THROWS_WITH_AS(fans_of({10}), "[fans] weight (10): expected (out, in, ...)", ShapeError);
}

TEST_CASE("init: scales are those of the papers") {
  CHECK(Init::he_normal(8).scale == 0.5);
  CHECK(Init::he_normal(8).kind == Init::Kind::kNormal);
  CHECK(Init::he_uniform(24).scale == 0.5);
  CHECK(Init::xavier_uniform({20, 4}).scale == 0.5);
  CHECK(Init::xavier_uniform({20, 4}).kind == Init::Kind::kUniform);
}

TEST_CASE("init: a truncated normal is a normal with those outside [-2, 2] drawn again") {
  const std::vector<double> wide = drawn(Init::truncated_normal(1)), plain = drawn(Init::normal(1));
  double squares = 0;
  int outside = 0, moved = 0, redrawn = 0;
  for (size_t i = 0; i < wide.size(); ++i) {
    const bool was_inside = std::abs(plain[i]) <= 2;
    outside += std::abs(wide[i]) > 2;
    moved += was_inside && wide[i] != plain[i];
    redrawn += !was_inside;
    squares += wide[i] * wide[i];
  }
  CHECK(outside == 0);
  CHECK(moved == 0);
  CHECK(redrawn > 0);
  // Variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737; of 20000 draws it deviates by 0.006.
  CHECK(squares / static_cast<double>(wide.size()) == doctest::Approx(0.7737).epsilon(0.03));
}

}  // namespace
}  // namespace vtrain
