#include "tensor/ops/optimize.h"

#include <doctest/doctest.h>

#include "numeric.h"
#include "tensor/parallel.h"

using namespace vtrain;
using namespace vtrain::testing;

namespace {
// Shorter than a vector, not a multiple of one, and several chunks with a rest.
const std::vector<Shape> kShapes{{1}, {7}, {3, 5}, {100}, {2, 20011}};

Tensor named(const Shape& shape, const char* name, size_t i, DType dtype, double low = -1,
             double high = 1) {
  return uniform(shape, low, high, str(name, i), DType::f32)
      .to(dtype)
      .clone();  // both dtypes start from the same values
}
}  // namespace

TEST_CASE("optimize: f32 agrees with the f64 reference over several steps") {
  std::vector<std::vector<Tensor>> results;
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<AdamwTensors> adamw;
    std::vector<SgdTensors> sgd;
    for (size_t i = 0; i < kShapes.size(); ++i) {
      const Tensor zero = zeros(kShapes[i], dtype);
      adamw.push_back({named(kShapes[i], "p", i, dtype), named(kShapes[i], "g", i, dtype),
                       zero.clone(), zero.clone(), 1 + 0.1 * static_cast<double>(i),
                       0.05 * static_cast<double>(i % 2)});
      sgd.push_back({named(kShapes[i], "p", i, dtype), named(kShapes[i], "g", i, dtype),
                     zero.clone(), 1 + 0.1 * static_cast<double>(i),
                     0.05 * static_cast<double>(i % 2)});
    }
    std::vector<Tensor> changed;
    for (int64_t step = 1; step <= 5; ++step) {
      adamw_update(
          adamw,
          {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = step, .grad_scale = 0.5});
      sgd_update(sgd, {.lr = 1e-2, .momentum = 0.9, .nesterov = true, .grad_scale = 0.5});
    }
    for (const AdamwTensors& t : adamw)
      changed.insert(changed.end(), {t.parameter, t.exp_avg, t.exp_avg_sq});
    for (const SgdTensors& t : sgd) changed.insert(changed.end(), {t.parameter, t.momentum_buffer});
    results.push_back(changed);
  }
  // Values of size 1, a dozen roundings per step.
  for (size_t i = 0; i < results[0].size(); ++i)
    CHECK(max_difference(results[0][i], results[1][i]) < 2e-6);
}

TEST_CASE("optimize: AdamW's first step worked by hand") {
  // m = 0.1 g, v = 0.001 g^2, both corrected to g and g^2: the step is lr * g / (|g| + eps), after
  // p *= 1 - lr * wd.
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<AdamwTensors> t{{from_values({2}, {1, -2}, dtype),
                                 from_values({2}, {4, -0.5}, dtype), zeros({2}, dtype),
                                 zeros({2}, dtype), 2, 0.1}};
    adamw_update(t, {.lr = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1});
    const std::vector<double> p = t[0].parameter.to_vector();
    CHECK(p[0] == doctest::Approx(1 * (1 - 0.1 * 0.1) - 0.1).epsilon(1e-6));
    CHECK(p[1] == doctest::Approx(-2 * (1 - 0.1 * 0.1) + 0.1).epsilon(1e-6));
    CHECK(t[0].exp_avg.to_vector()[0] == doctest::Approx(0.4).epsilon(1e-6));
    CHECK(t[0].exp_avg_sq.to_vector()[0] == doctest::Approx(0.016).epsilon(1e-6));
  }
}

TEST_CASE("optimize: two steps of SGD worked by hand, plain, with momentum and with Nesterov's") {
  // g = 1, no decay. Momentum 0.5: b = 1, 1.5. Nesterov steps: 1 + 0.5 * 1 = 1.5, then 1 + 0.5
  // * 1.5 = 1.75.
  struct Case {
    double momentum;
    bool nesterov;
    double after_two;
  };
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Case& c : {Case{0, false, -0.2}, Case{0.5, false, -0.25}, Case{0.5, true, -0.325}}) {
      std::vector<SgdTensors> t{{zeros({3}, dtype), ones({3}, dtype),
                                 c.momentum > 0 ? zeros({3}, dtype) : Tensor(), 1, 0}};
      for (int step = 0; step < 2; ++step)
        sgd_update(t, {.lr = 0.1, .momentum = c.momentum, .nesterov = c.nesterov});
      CHECK(t[0].parameter.to_vector()[2] == doctest::Approx(c.after_two).epsilon(1e-6));
    }
    std::vector<SgdTensors> decayed{
        {full({3}, 2, dtype), ones({3}, dtype), {}, 1, 0.5}};  // d = 1 + 0.5 * 2
    sgd_update(decayed, {.lr = 0.1});
    CHECK(decayed[0].parameter.to_vector()[0] == doctest::Approx(1.8).epsilon(1e-6));
  }
}

TEST_CASE("optimize: a moving average") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<Tensor> values{full({33}, 2, dtype), full({2, 2}, -1, dtype)};
    std::vector<Tensor> averages{ones({33}, dtype), ones({2, 2}, dtype)};
    ema_update(values, averages, 0.75);
    CHECK(averages[0].to_vector()[32] == 1.25);
    CHECK(averages[1].to_vector()[3] == 0.5);
  }
}

TEST_CASE(
    "optimize: the sum of squares is exact where it can be and does not depend on the number of "
    "threads") {
  const std::vector<Tensor> integers{full({7}, 3), full({2, 20011}, -2), full({5}, 4, DType::f64)};
  CHECK(sum_of_squares(integers) == 7 * 9 + 2 * 20011 * 4 + 5 * 16);
  std::vector<Tensor> random;
  for (size_t i = 0; i < kShapes.size(); ++i)
    random.push_back(named(kShapes[i], "x", i, DType::f32));
  const int before = num_threads();
  set_num_threads(1);
  const double one = sum_of_squares(random);
  set_num_threads(3);
  const double three = sum_of_squares(random);
  set_num_threads(before);
  CHECK(one == three);
}

TEST_CASE("optimize: what is changed has a new version, the gradient has not") {
  std::vector<AdamwTensors> t{{ones({3}), ones({3}), zeros({3}), zeros({3}), 1, 0}};
  const uint64_t p = t[0].parameter.version(), m = t[0].exp_avg.version(),
                 v = t[0].exp_avg_sq.version(), g = t[0].grad.version();
  adamw_update(t, {.lr = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1});
  CHECK(t[0].parameter.version() > p);
  CHECK(t[0].exp_avg.version() > m);
  CHECK(t[0].exp_avg_sq.version() > v);
  CHECK(t[0].grad.version() == g);
}

TEST_CASE("optimize: channels-last parameters take gradients of either memory order") {
  const Tensor p = uniform({4, 3, 2, 2}, -1, 1, "p", DType::f32),
               g = uniform({4, 3, 2, 2}, -1, 1, "g", DType::f32);
  std::vector<SgdTensors> plain{{p.clone(), g, {}, 1, 0}}, mixed{{p.channels_last(), g, {}, 1, 0}};
  sgd_update(plain, {.lr = 0.1});
  sgd_update(mixed, {.lr = 0.1});
  CHECK(mixed[0].parameter.is_channels_last());
  CHECK(max_difference(plain[0].parameter, mixed[0].parameter) == 0);
}

TEST_CASE("optimize: wrong arguments are named and nothing is changed") {
  std::vector<SgdTensors> t{{ones({3}), ones({3}), {}, 1, 0}, {ones({3}), ones({4}), {}, 1, 0}};
  CHECK_THROWS_WITH_AS(sgd_update(t, {.lr = 1}),
                       "[sgd_update] grad (4): expected the shape of parameter (3)", ShapeError);
  CHECK(t[0].parameter.to_vector() == std::vector<double>{1, 1, 1});
  std::vector<AdamwTensors> a{{ones({3}), ones({3}), zeros({3}), zeros({3}), 1, 0}};
  CHECK_THROWS_WITH_AS(
      adamw_update(a, {.lr = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 0}),
      "[adamw_update] step: expected at least 1, got 0", ShapeError);
  std::vector<Tensor> averages{ones({3})};
  CHECK_THROWS_WITH_AS(ema_update({}, averages, 0.5),
                       "[ema_update] averages: expected 0 tensors, one per value, got 1",
                       ShapeError);
}
