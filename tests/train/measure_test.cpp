#include "train/measure.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <thread>

#include "tensor/error.h"

namespace vtrain {
namespace {
using doctest::Approx;

TEST_CASE(
    "measure: quantiles interpolate linearly between neighbours, in any order of the values") {
  const std::vector<double> values = {4, 1, 3, 2};
  CHECK(quantile(values, 0) == 1);
  CHECK(quantile(values, 0.5) == 2.5);
  CHECK(quantile(values, 0.95) == Approx(3.85));  // numpy.percentile([4, 1, 3, 2], 95)
  CHECK(quantile(values, 1) == 4);
  CHECK(quantile(std::vector<double>{7}, 0.95) == 7);
  CHECK_THROWS_AS(quantile({}, 0.5), Error);
}

TEST_CASE("measure: a timing keeps the durations in order, with their median, minimum and mean") {
  const Timing timing = timing_of({3, 1, 5});
  CHECK(timing.seconds == std::vector<double>{3, 1, 5});
  CHECK(timing.p50 == 3);
  CHECK(timing.p95 == Approx(4.8));
  CHECK(timing.min == 1);
  CHECK(timing.mean == 3);
}

TEST_CASE("measure: functions are called in turn, warm-up included, and only rounds count") {
  std::string calls;
  const std::vector<std::function<void()>> functions = {[&] { calls += 'a'; },
                                                        [&] { calls += 'b'; }};
  const auto timings = measure_interleaved(functions, {.rounds = 3, .warmup = 1});
  CHECK(calls == "abababab");
  REQUIRE(timings.size() == 2);
  CHECK(timings[0].seconds.size() == 3);
  CHECK(timings[1].seconds.size() == 3);
}

TEST_CASE("measure: each function gets its own durations") {
  const auto sleep = [](int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  const std::vector<std::function<void()>> functions = {[] {}, [&] { sleep(20); }};
  const auto timings = measure_interleaved(functions, {.rounds = 3, .warmup = 0});
  CHECK(timings[0].min < 0.020);
  CHECK(timings[1].min >= 0.020);  // a sleep is never shorter
}

TEST_CASE("measure: no round is an error") {
  CHECK_THROWS_WITH_AS(measure_interleaved({}, {.rounds = 0}),
                       "[measure] rounds: expected at least 1, got 0", Error);
}

}  // namespace
}  // namespace vtrain
