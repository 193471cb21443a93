#include "train/ema.h"

#include <doctest/doctest.h>

#include "tests/golden.h"

namespace vtrain {
namespace {

Parameter parameter(const Tensor& value) {
  Parameter p(value.shape(), Init::zeros());
  p.set_path("w");
  p.set(value);
  return p;
}

TEST_CASE("ema: the average follows torch.lerp over five updates") {
  const Golden golden("optimizers");
  Parameter p = parameter(golden("start.weight"));
  Ema ema(0.9, {p});
  for (int64_t step = 0; step < 5; ++step) {
    p.set(golden("grads.weight").select(0, step));
    ema.update();
    // f32: one rounding of 6e-8 per update.
    CHECK(relative_error(ema.state().at("w"), golden("ema.weight").select(0, step)) < 1e-6);
  }
}

TEST_CASE(
    "ema: averages stand in for the weights while they are applied, then the weights return") {
  Parameter p = parameter(full({2}, 1));
  Ema ema(0.5, {p});
  p.set(full({2}, 3));
  ema.update();
  {
    const Ema::Applied applied(&ema);
    CHECK(p.value().to_vector() == std::vector<double>{2, 2});
  }
  CHECK(p.value().to_vector() == std::vector<double>{3, 3});
  {
    Ema::Applied applied(&ema);
    applied.keep();
  }
  CHECK(p.value().to_vector() == std::vector<double>{2, 2});
  { const Ema::Applied nothing(nullptr); }
  CHECK(p.value().to_vector() == std::vector<double>{2, 2});
}

TEST_CASE("ema: state loads into another average; what is missing is named") {
  Parameter p = parameter(full({2}, 1));
  Ema ema(0.5, {p}), other(0.5, {p});
  p.set(full({2}, 3));
  ema.update();
  other.load_state(ema.state(), "x");
  CHECK(other.state().at("w").to_vector() == std::vector<double>{2, 2});
  CHECK_THROWS_WITH_AS(other.load_state({}, "x.safetensors"),
                       "x.safetensors: has no moving average of w", CheckpointError);
}

}  // namespace
}  // namespace vtrain
