#include "nn/layers/drop_path.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "autograd/arithmetic.h"

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

/// What each of n samples is multiplied by.
std::vector<double> factors(double rate, int64_t n, const Pass& pass, const char* path = "d") {
  DropPath drop(rate);
  drop.set_path(path);
  return drop(Variable(ones({n, 1, 1})), pass).value().to_vector();
}

TEST_CASE("drop_path: in evaluation, and at rate 0, it is the identity") {
  Pass evaluation = training();
  evaluation.is_training = false;
  CHECK(factors(0.5, 8, evaluation) == std::vector<double>(8, 1));
  CHECK(factors(0, 8, training()) == std::vector<double>(8, 1));
}

TEST_CASE("drop_path: a sample is dropped as a whole, survivors are scaled by 1 / (1 - rate)") {
  DropPath drop(0.2);
  drop.set_path("d");
  const Tensor y = drop(Variable(ones({200, 2, 3})), training()).value();
  int dropped = 0;
  for (int64_t n = 0; n < 200; ++n) {
    const std::vector<double> sample = y.select(0, n).to_vector();
    for (const double v : sample) CHECK(v == sample[0]);
    CHECK((sample[0] == 0 || sample[0] == 1.25));
    dropped += sample[0] == 0;
  }
  CHECK(dropped > 0);
}

TEST_CASE("drop_path: the expectation is the identity") {
  for (const double rate : {0.1, 0.5, 0.8}) {
    CAPTURE(rate);
    double sum = 0;
    const int64_t n = 20000;
    for (const double f : factors(rate, n, training())) sum += f;
    // The mean of n draws deviates by sqrt(rate / (1 - rate) / n); four of that are allowed.
    CHECK(sum / static_cast<double>(n) ==
          doctest::Approx(1).epsilon(4 * std::sqrt(rate / (1 - rate) / static_cast<double>(n))));
  }
}

TEST_CASE("drop_path: a sample's fate does not depend on how the batch is split") {
  const std::vector<double> whole = factors(0.5, 24, training());
  for (const int64_t part : {1, 3, 8}) {
    std::vector<double> split;
    for (int64_t first = 0; first < 24; first += part) {
      for (const double f : factors(0.5, part, training(0, first))) split.push_back(f);
    }
    CHECK(split == whole);
  }
}

TEST_CASE("drop_path: another step, path, phase or seed decides anew, the same ones alike") {
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

TEST_CASE("drop_path: the gradient is that of the kept samples, scaled") {
  DropPath drop(0.5);
  drop.set_path("d");
  const Variable x = Variable::leaf(ones({8, 2}));
  const Variable y = drop(x, training());
  backward(sum(y));
  CHECK(x.grad().to_vector() == y.value().to_vector());
}

}  // namespace
}  // namespace vtrain
