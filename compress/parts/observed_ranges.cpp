#include "compress/parts/observed_ranges.h"

namespace vtrain {

ObservedRanges::ObservedRanges(const std::vector<std::string>& names, const std::string& kind,
                               const std::vector<ObserverOptions>& options) {
  for (size_t i = 0; i < names.size(); ++i) {
    observers_.emplace_back(kind, options[i]);
    ranges_.push_back(add(names[i], Parameter({3}, Init::zeros(), /*is_buffer=*/true)));
  }
}

bool ObservedRanges::has_seen(size_t i) const { return ranges_[i].value().to_vector()[2] != 0; }

ValueRange ObservedRanges::range(size_t i) const {
  const std::vector<double> kept = ranges_[i].value().to_vector();
  if (kept[2] == 0) throw Error(str(ranges_[i].path(), ": no values have been observed yet"));
  return {.low = kept[0], .high = kept[1]};
}

void ObservedRanges::observe(size_t i, const Tensor& x) {
  Observer& observer = observers_[i];
  // The buffer is what counts: a resumed run has nothing else.
  if (has_seen(i)) observer.restore(range(i));
  observer.observe(x);
  set(i, observer.range());
}

void ObservedRanges::set(size_t i, const ValueRange& range) {
  ranges_[i].set(from_values({3}, {range.low, range.high, 1}));
}

}  // namespace vtrain
