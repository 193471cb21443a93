#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compress/parts/cut_groups.h"

namespace vtrain {

/// The weights that make the channels of a group: convolution and linear parameters, cut in rows.
std::vector<std::string> producers_of(const CutGroup& group, Network& network);

enum class WeightNorm { kL1, kL2, kMax };

/// Importance of each channel of a group: the norm of the rows that make it, taken over all rows of
/// all producers together. Sums in double. With `skip_columns`, inputs that are gone do not count:
/// for a producer's parameter, the columns left out.
std::vector<double> row_norms(
    Network& network, const CutGroup& group, WeightNorm norm,
    const std::function<const std::vector<int64_t>*(const std::string& parameter)>& skip_columns =
        {});

}  // namespace vtrain
