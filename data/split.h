#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace vtrain {

/// What becomes of the training split. Both are ascending, so that without shuffling samples come
/// in the data set's order.
struct HoldOut {
  std::vector<int64_t> train, val;
};

struct HoldOutOptions {
  double val = 0;                     // fraction held out, in [0, 1)
  std::optional<int64_t> limit = {};  // keep so many of the seeded order; nullopt: all
  uint64_t seed = 0;
};

/// Of `samples` training samples: a seeded permutation is cut to `limit`, its first round(val *
/// kept) are held out, the others train. Depends on the arguments only, not on the phase. Throws
/// DataError if val > 0 leaves one side empty.
HoldOut hold_out(int64_t samples, const HoldOutOptions& options);

}  // namespace vtrain
