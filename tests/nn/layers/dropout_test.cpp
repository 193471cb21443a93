#include "nn/layers/dropout.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/dropout.h"
#include "autograd/gradcheck.h"
#include "autograd/trace.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

Pass training(int64_t step = 0, int64_t first_sample = 0) {
  Pass pass;
  pass.is_training = true;
  pass.step = step;
  pass.first_sample = first_sample;
  pass.seed = 5;
  pass.phase = "train";
  return pass;
}

/// What each element of n samples of `width` ones becomes.
std::vector<double> factors(double rate, int64_t n, const Pass& pass, const char* path = "d",
                            int64_t width = 10) {
  Dropout drop(rate);
  drop.set_path(path);
  return drop(Variable(ones({n, width})), pass).value().to_vector();
}

TEST_CASE("dropout layer: in evaluation, and at rate 0, it is the identity") {
  Pass evaluation = training();
  evaluation.is_training = false;
  CHECK(factors(0.5, 8, evaluation) == std::vector<double>(80, 1));
  CHECK(factors(0, 8, training()) == std::vector<double>(80, 1));
}

TEST_CASE("dropout layer: elements are dropped one by one, survivors are scaled") {
  const std::vector<double> y = factors(0.2, 100, training());
  bool is_mixed = false;
  for (size_t i = 0; i < y.size(); ++i) {
    CHECK((y[i] == 0 || y[i] == 1.25));
    is_mixed = is_mixed || (i % 10 > 0 && y[i] != y[i - 1]);
  }
  CHECK(is_mixed);
}

TEST_CASE("dropout layer: the expectation is the identity") {
  for (const double rate : {0.1, 0.5, 0.8}) {
    CAPTURE(rate);
    double sum = 0;
    const double n = 20000;
    for (const double f : factors(rate, 2000, training())) sum += f;
    // The mean of n draws deviates by sqrt(rate / (1 - rate) / n); four of that are allowed.
    CHECK(sum / n == doctest::Approx(1).epsilon(4 * std::sqrt(rate / (1 - rate) / n)));
  }
}

TEST_CASE("dropout layer: noise depends on neither the batch's split nor the number of threads") {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<double> whole = factors(0.5, 24, training(), "d", 900);
  set_num_threads(3);
  CHECK(factors(0.5, 24, training(), "d", 900) == whole);
  for (const int64_t part : {1, 3, 8}) {
    std::vector<double> split;
    for (int64_t first = 0; first < 24; first += part) {
      for (const double f : factors(0.5, part, training(0, first), "d", 900)) split.push_back(f);
    }
    CHECK(split == whole);
  }
  set_num_threads(before);
}

TEST_CASE("dropout layer: another step, path, phase or seed draws anew, the same ones alike") {
  const std::vector<double> base = factors(0.5, 64, training());
  CHECK(factors(0.5, 64, training()) == base);
  CHECK(factors(0.5, 64, training(1)) != base);
  CHECK(factors(0.5, 64, training(), "e") != base);
  Pass other = training();
  other.seed = 6;
  CHECK(factors(0.5, 64, other) != base);
  other = training();
  other.phase = "sparse";
  CHECK(factors(0.5, 64, other) != base);
}

TEST_CASE("dropout layer: the gradient passes where the value did, scaled alike") {
  Dropout drop(0.5);
  drop.set_path("d");
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Variable x = Variable::leaf(ones({8, 2}, dtype));
    const Variable y = drop(x, training());
    backward(y, ones_like(y.value()));
    CHECK(x.grad().dtype() == dtype);
    CHECK(x.grad().to_vector() == y.value().to_vector());
  }
}

TEST_CASE("dropout: the gradient agrees with finite differences") {
  const Random random(3, "", "dropout_test");
  const Shape shape{2, 3, 2, 2};
  const Tensor noise = random.uniform(shape, {});
  const GradReport report =
      gradcheck([&](const Variable& x) { return square(dropout(x, noise, 0.4)); },
                random.normal(shape, {}, 1, DType::f64));
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("dropout layer: a training pass records the op with its rate, evaluation records none") {
  Dropout drop(0.25);
  drop.set_path("classifier.0");
  Trace trace;
  {
    const Trace::Recording recording(trace);
    drop(Variable(ones({1, 2})), Pass{});
    drop(Variable(ones({1, 2})), training());
  }
  REQUIRE(trace.records().size() == 1);
  CHECK(trace.records()[0].scope == "classifier.0/dropout.0");
  CHECK(trace.records()[0].op.attributes[0].second == 0.25);
}

TEST_CASE("dropout layer: a rate of 1 is refused") {
  CHECK_THROWS_WITH_AS(Dropout(1.0), "[dropout] rate: expected 0 <= rate < 1, got 1", ShapeError);
}

}  // namespace
}  // namespace vtrain
