#include "compress/parts/observers.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// The elements on the host, in f32, slice by slice.
Tensor on_host(const Tensor& x) {
  const Tensor own = x.to(Device{}).to(DType::f32);
  return own.is_dense() ? own : own.contiguous();
}

/// Lanes side by side, which compilers turn into vector instructions; no order of them matters.
class Extremes {
 public:
  explicit Extremes(float x) {
    low_.fill(x);
    high_.fill(x);
    sum_of_zeros_.fill(0);
  }
  void add(const float* x, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (int64_t k = 0; k < kLanes; ++k) {
        const float v = x[i + k];
        const auto lane = static_cast<size_t>(k);
        low_[lane] = v < low_[lane] ? v : low_[lane];
        high_[lane] = v > high_[lane] ? v : high_[lane];
        sum_of_zeros_[lane] += v * 0.0F;  // not a number if v is not finite
      }
    }
    for (; i < n; ++i) {
      low_[0] = std::min(low_[0], x[i]);
      high_[0] = std::max(high_[0], x[i]);
      sum_of_zeros_[0] += x[i] * 0.0F;
    }
  }
  float low() const { return *std::ranges::min_element(low_); }
  float high() const { return *std::ranges::max_element(high_); }
  bool are_finite() const {
    return std::ranges::none_of(sum_of_zeros_, [](float x) { return std::isnan(x); });
  }

 private:
  static constexpr int64_t kLanes = 16;
  std::array<float, kLanes> low_, high_, sum_of_zeros_;
};

ValueRange range_of(const float* x, int64_t n) {
  std::vector<Extremes> shares(static_cast<size_t>(num_threads()), Extremes(x[0]));
  parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end, int thread) {
    Extremes own(x[begin]);  // apart from the neighbours' lines of cache
    own.add(x + begin, end - begin);
    shares[static_cast<size_t>(thread)] = own;
  });
  float low = x[0], high = x[0];
  for (const Extremes& share : shares) {
    if (!share.are_finite()) throw Error("observer: expected finite values, got one that is not");
    low = std::min(low, share.low());
    high = std::max(high, share.high());
  }
  return {static_cast<double>(low), static_cast<double>(high)};
}

void check_not_empty(const Tensor& x) {
  if (x.numel() == 0) throw Error(str("observer: expected values, got shape ", x.shape()));
}

void check_between(const char* knob, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw RecipeError(str(knob, ": expected ", low, " to ", high, ", got ", value));
}

}  // namespace

ValueRange min_max(const Tensor& x) {
  check_not_empty(x);
  const Tensor own = on_host(x);
  return range_of(own.data<float>(), own.numel());
}

std::vector<ValueRange> channel_ranges(const Tensor& x) {
  check_not_empty(x);
  const Tensor own = on_host(x);
  const int64_t slices = x.dim(0), length = x.numel() / slices;
  std::vector<ValueRange> ranges;
  for (int64_t i = 0; i < slices; ++i)
    ranges.push_back(range_of(own.data<float>() + i * length, length));
  return ranges;
}

ValueRange percentile_range(const Tensor& x, double share, int64_t bins) {
  check_not_empty(x);
  const Tensor own = on_host(x);
  const float* const values = own.data<float>();
  const ValueRange all = range_of(values, own.numel());
  const double largest = std::max(-all.low, all.high);
  if (share >= 1 || largest == 0) return all;

  std::vector<int64_t> counts(static_cast<size_t>(bins));
  const double per_bin = static_cast<double>(bins) / largest;
  for (int64_t i = 0; i < own.numel(); ++i) {
    const auto bin = static_cast<int64_t>(std::abs(static_cast<double>(values[i])) * per_bin);
    ++counts[static_cast<size_t>(std::min(bin, bins - 1))];
  }
  const double wanted = share * static_cast<double>(own.numel());
  double clip = largest;
  int64_t seen = 0;
  for (int64_t bin = 0; bin < bins; ++bin) {
    seen += counts[static_cast<size_t>(bin)];
    if (static_cast<double>(seen) < wanted) continue;
    clip = (static_cast<double>(bin) + 0.5) / per_bin;
    break;
  }
  return {std::max(all.low, -clip), std::min(all.high, clip)};
}

std::vector<ValueRange> least_error_ranges(const Tensor& x, const std::vector<ValueRange>& ranges,
                                           CodeScheme scheme, int64_t bits, int64_t steps) {
  std::vector<ValueRange> best = ranges;
  std::vector<double> least;
  for (int64_t i = 0; i < steps; ++i) {
    const double part = 1 - 0.01 * static_cast<double>(i);
    std::vector<ValueRange> tried = ranges;
    for (ValueRange& range : tried) range = {range.low * part, range.high * part};
    const Quantizer quantizer = tried.size() == 1
                                    ? Quantizer(quantized_type(tried[0], scheme, bits))
                                    : Quantizer(tried, scheme, bits);
    const std::vector<double> errors =
        fake_quantize_error(x, quantizer.scale().to(wide_of(x.dtype())).to(x.device()),
                            quantizer.range())
            .to_vector();
    if (i == 0) least = errors;
    for (size_t slice = 0; slice < errors.size(); ++slice) {
      if (errors[slice] >= least[slice]) continue;
      least[slice] = errors[slice];
      best[slice] = tried[slice];
    }
  }
  return best;
}

const std::vector<std::string>& observer_kinds() {
  static const std::vector<std::string> kinds = {"minmax", "current", "ema", "percentile", "mse"};
  return kinds;
}

Observer::Observer(const std::string& kind, const ObserverOptions& o) {
  measure_ = min_max;
  if (kind == "minmax") {
    merge_ = Merge::kWiden;
  } else if (kind == "current") {
    merge_ = Merge::kReplace;
  } else if (kind == "ema") {
    merge_ = Merge::kAverage;
    decay_ = o.decay.value_or(0.999);
  } else if (kind == "percentile") {
    check_between("percentile", o.share, 0, 1);
    check_between("bins", static_cast<double>(o.bins), 2, 1 << 20);
    measure_ = [o](const Tensor& x) { return percentile_range(x, o.share, o.bins); };
    merge_ = Merge::kAverage;
    decay_ = o.decay.value_or(0.9);
  } else if (kind == "mse") {
    check_between("steps", static_cast<double>(o.steps), 1, 99);
    measure_ = [o](const Tensor& x) {
      return least_error_ranges(x, {min_max(x)}, o.scheme, o.bits, o.steps)[0];
    };
    merge_ = Merge::kWiden;
  } else {
    std::string known;
    for (const std::string& each : observer_kinds()) known += (known.empty() ? "" : ", ") + each;
    throw RecipeError(str("range: expected one of ", known, ", got ", kind));
  }
  check_between("decay", decay_, 0, 1);
}

void Observer::observe(const Tensor& x) {
  const ValueRange now = measure_(x);
  if (!has_seen_ || merge_ == Merge::kReplace) {
    range_ = now;
  } else if (merge_ == Merge::kWiden) {
    range_ = {std::min(range_.low, now.low), std::max(range_.high, now.high)};
  } else {
    range_ = {decay_ * range_.low + (1 - decay_) * now.low,
              decay_ * range_.high + (1 - decay_) * now.high};
  }
  has_seen_ = true;
}

ValueRange Observer::range() const {
  if (!has_seen_) throw Error("observer: no values have been observed yet");
  return range_;
}

void Observer::restore(const ValueRange& range) {
  range_ = range;
  has_seen_ = true;
}

void Observer::state(Archive& archive, const std::string& name) {
  archive(name + ".low", range_.low)(name + ".high", range_.high)(name + ".has_seen", has_seen_);
}

}  // namespace vtrain
