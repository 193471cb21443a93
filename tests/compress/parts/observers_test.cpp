#include "compress/parts/observers.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tensor/random.h"

namespace vtrain {
namespace {

// 16 values: 12 small ones, an outlier at 8 and three at -1.
const Tensor kBatch =
    from_values({16}, {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 8, -1, -1, -1});
const Tensor kNext = from_values({2}, {-3, 4});

ValueRange seen(const std::string& kind, const ObserverOptions& options = {}) {
  Observer observer(kind, options);
  observer.observe(kBatch);
  observer.observe(kNext);
  return observer.range();
}

TEST_CASE("observer: minmax, current and ema after two batches, by hand") {
  CHECK(seen("minmax") == ValueRange{-3, 8});
  CHECK(seen("current") == ValueRange{-3, 4});
  CHECK(seen("ema", {.decay = 0.75}) == ValueRange{-1.5, 7});  // 0.75 * -1 - 0.25 * 3, ...
  CHECK(seen("ema", {.decay = 0.0}) == seen("current"));
  CHECK(seen("ema").high == doctest::Approx(0.999 * 8 + 0.001 * 4));
}

TEST_CASE("observer: percentile clips at the centre of the bin that holds the share") {
  // |x| <= 8 in 4 bins of width 2: 15 of 16 are in the first, whose centre is 1.
  CHECK(percentile_range(kBatch, 15 / 16.0, 4) == ValueRange{-1, 1});
  // A bit more, and the last bin counts: its centre is 7, and the true lower end is kept.
  CHECK(percentile_range(kBatch, 15.5 / 16, 4) == ValueRange{-1, 7});
  CHECK(percentile_range(kBatch, 1, 4) == ValueRange{-1, 8});
  // 16 bins of width 0.5: 0.5 falls into the second, centre 0.75.
  CHECK(percentile_range(kBatch, 12 / 16.0, 16) == ValueRange{-0.75, 0.75});
  CHECK(percentile_range(zeros({4}), 0.9, 16) == ValueRange{0, 0});
  Observer observer("percentile", {.decay = 0.5, .share = 15 / 16.0, .bins = 4});
  observer.observe(kBatch);
  observer.observe(from_values({2}, {0, 4}));  // the last bin of width 1: 3.5
  CHECK(observer.range() == ValueRange{-0.5, 2.25});
  CHECK(seen("percentile", {.share = 1}) == seen("ema", {.decay = 0.9}));
}

TEST_CASE("observer: mse gives up the outlier where that costs less than coarse steps") {
  // 400 times 0.5 and once 4; 3 bits, codes -4..3. Of range 4 a step is 4/3, and 0.5 becomes 0.
  std::vector<double> values(401, 0.5);
  values[7] = 4;
  double least = 1e9, best = 0;
  for (int i = 0; i < 95; ++i) {
    const double high = 4 * (1 - 0.01 * i), step = high / 3;
    const auto off = [&](double x) { return step * std::min(3.0, std::nearbyint(x / step)) - x; };
    const double error = 400 * off(0.5) * off(0.5) + off(4) * off(4);
    if (error >= least) continue;
    least = error;
    best = high;
  }
  CHECK(best == doctest::Approx(1.56));  // near 1.5, where 0.5 is a code, and a bit towards 4
  Observer observer("mse", {.scheme = CodeScheme::kFull, .bits = 3});
  observer.observe(from_values({401}, values));
  CHECK(observer.range().high == doctest::Approx(best).epsilon(1e-6));
  CHECK(least_error_ranges(kBatch, {{-1, 8}}, CodeScheme::kFull, 3, 1)[0] == ValueRange{-1, 8});
}

TEST_CASE("observer: mse of channels is that of each channel alone, never worse than no clipping") {
  const Tensor w = Random(5, "", "w").normal({3, 40}, {});
  const std::vector<ValueRange> ranges = channel_ranges(w);
  const auto best = least_error_ranges(w, ranges, CodeScheme::kSymmetric, 3, 80);
  for (int64_t o = 0; o < 3; ++o) {
    const Tensor own = w.slice(0, o, o + 1).contiguous();
    const auto at = static_cast<size_t>(o);
    CHECK(min_max(own) == ranges[at]);
    CHECK(least_error_ranges(own, {ranges[at]}, CodeScheme::kSymmetric, 3, 80)[0] == best[at]);
    CHECK(best[at].high < ranges[at].high);
  }
}

TEST_CASE("observer: what it has seen is saved and comes back") {
  for (const std::string& kind : observer_kinds()) {
    CAPTURE(kind);
    Observer whole(kind, {.decay = 0.5}), first(kind, {.decay = 0.5}), second(kind, {.decay = 0.5});
    whole.observe(kBatch);
    first.observe(kBatch);
    Archive saving = Archive::saving();
    first.state(saving, "act1");
    CHECK(saving.values().contains("act1.low"));
    Archive loading = Archive::loading(saving.values());
    second.state(loading, "act1");
    for (Observer* const observer : {&whole, &second}) observer->observe(kNext);
    CHECK(second.range() == whole.range());
  }
}

TEST_CASE("observer: wrong kinds, knobs and values are refused") {
  CHECK_THROWS_WITH_AS(Observer("max", {}),
                       "range: expected one of minmax, current, ema, percentile, mse, got max",
                       RecipeError);
  CHECK_THROWS_WITH_AS(Observer("ema", {.decay = 1.5}), "decay: expected 0 to 1, got 1.5",
                       RecipeError);
  CHECK_THROWS_WITH_AS(Observer("percentile", {.share = 2}), "percentile: expected 0 to 1, got 2",
                       RecipeError);
  CHECK_THROWS_WITH_AS(Observer("ema", {}).range(), "observer: no values have been observed yet",
                       Error);
  Observer observer("minmax", {});
  CHECK_THROWS_WITH_AS(observer.observe(full({3}, std::numeric_limits<double>::quiet_NaN())),
                       "observer: expected finite values, got one that is not", Error);
  CHECK(!observer.has_seen());
}

}  // namespace
}  // namespace vtrain
