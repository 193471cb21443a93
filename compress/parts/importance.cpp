#include "compress/parts/importance.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

std::vector<std::string> producers_of(const CutGroup& group, Network& network) {
  std::vector<std::string> producers;
  for (const CutGroup::Place& place : group.places) {
    const int rank = network.parameter(place.parameter).value().ndim();
    if (place.axis == 0 && (rank == 2 || rank == 4)) producers.push_back(place.parameter);
  }
  return producers;
}

std::vector<double> row_norms(
    Network& network, const CutGroup& group, WeightNorm norm,
    const std::function<const std::vector<int64_t>*(const std::string& parameter)>& skip_columns) {
  std::vector<double> scores(static_cast<size_t>(group.size()), 0.0);
  for (size_t p = 0; p < group.places.size(); ++p) {
    const Tensor value = network.parameter(group.places[p].parameter).value();
    if (group.places[p].axis != 0 || (value.ndim() != 2 && value.ndim() != 4)) continue;
    const auto columns = static_cast<size_t>(value.dim(1));
    std::vector<char> counts(columns, 1);
    if (const std::vector<int64_t>* const gone =
            skip_columns ? skip_columns(group.places[p].parameter) : nullptr) {
      for (const int64_t column : *gone) counts[static_cast<size_t>(column)] = 0;
    }
    const std::vector<double> w = value.to_vector();
    const size_t row = w.size() / static_cast<size_t>(value.dim(0)), taps = row / columns;
    for (size_t c = 0; c < scores.size(); ++c) {
      for (const int64_t i : group.indices[c][p]) {
        for (size_t k = 0; k < row; ++k) {
          if (counts[k / taps] == 0) continue;
          const double a = std::abs(w[static_cast<size_t>(i) * row + k]);
          switch (norm) {
            case WeightNorm::kL1:
              scores[c] += a;
              break;
            case WeightNorm::kL2:
              scores[c] += a * a;
              break;
            case WeightNorm::kMax:
              scores[c] = std::max(scores[c], a);
              break;
          }
        }
      }
    }
  }
  if (norm == WeightNorm::kL2) {
    for (double& s : scores) s = std::sqrt(s);
  }
  return scores;
}

}  // namespace vtrain
