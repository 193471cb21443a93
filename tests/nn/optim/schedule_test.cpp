#include "nn/optim/schedule.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/golden.h"

namespace vtrain {
namespace {

std::vector<double> rates(const std::string& yaml, double lr, int epochs) {
  Recipe recipe = Recipe::from_text("{sched: " + yaml + "}", "x.yaml");
  const auto schedule = read_schedule(recipe.section("sched"), lr, epochs);
  recipe.finish();
  std::vector<double> values;
  for (int epoch = 0; epoch < epochs; ++epoch) values.push_back(schedule->lr(epoch));
  return values;
}

void check_equal(const std::vector<double>& rates, const Tensor& expected) {
  const std::vector<double> e = expected.to_vector();
  REQUIRE(rates.size() == e.size());
  // PyTorch's cosine multiplies from epoch to epoch, so roundings add up.
  for (size_t i = 0; i < e.size(); ++i) CHECK(rates[i] == doctest::Approx(e[i]).epsilon(1e-12));
}

TEST_CASE("schedule: cosine, with and without warm-up, and steps agree with torch.optim") {
  const Golden golden("optimizers");
  check_equal(rates("{name: cosine, min_lr: 1e-5}", 5e-4, 20), golden("cosine"));
  check_equal(rates("{name: cosine, warmup_epochs: 5, warmup_lr: 1e-6, min_lr: 1e-5}", 5e-4, 20),
              golden("cosine_warmup"));
  check_equal(rates("{name: step, drops: [6, 9], factor: 0.2}", 0.1, 12), golden("step"));
}

TEST_CASE("schedule: the rate is continuous in fractions of an epoch") {
  Recipe recipe = Recipe::from_text("{sched: {warmup_epochs: 2, warmup_lr: 0, min_lr: 0}}");
  const auto s = read_schedule(recipe.section("sched"), 1, 10);
  CHECK(s->lr(0) == 0);
  CHECK(s->lr(0.5) == 0.25);
  CHECK(s->lr(2) == 1);
  CHECK(s->lr(6) == doctest::Approx(0.5).epsilon(1e-15));  // half of the way down
  CHECK(s->lr(10) == doctest::Approx(0));
  CHECK(s->lr(11) == doctest::Approx(0));  // does not rise again
}

TEST_CASE("schedule: constant stays, a floor holds under step drops") {
  CHECK(rates("{name: constant}", 0.3, 3) == std::vector<double>{0.3, 0.3, 0.3});
  CHECK(rates("{name: step, drops: [1], factor: 0.1, min_lr: 0.2}", 1, 2) ==
        std::vector<double>{1, 0.2});
}

TEST_CASE("schedule: a warm-up that leaves no epoch is refused with its place") {
  CHECK_THROWS_WITH_AS(
      rates("{warmup_epochs: 5}", 1, 5),
      "x.yaml:1: sched.warmup_epochs: expected less than the phase's 5 epochs, got 5", RecipeError);
}

}  // namespace
}  // namespace vtrain
