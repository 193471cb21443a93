#include "compress/parts/filter_groups.h"

#include <algorithm>

#include "compress/parts/importance.h"
#include "compress/parts/path_glob.h"

namespace vtrain {

FilterChoice read_filter_choice(Recipe& r) {
  FilterChoice choice;
  choice.layers = r.texts("layers", {"*"}, "layers whose filters may go, * stands for anything");
  choice.skip = r.texts("skip", {}, "layers that stay whole");
  choice.couples_streams = r.choice("streams", "inner", {"inner", "coupled"},
                                    "whether channels of residual sums go too") == "coupled";
  return choice;
}

std::vector<size_t> filter_groups(Network& network, const CutGroups& groups,
                                  const FilterChoice& choice, const std::string& key) {
  std::vector<size_t> candidates;
  std::vector<std::string> names;
  for (size_t g = 0; g < groups.groups().size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    const std::vector<std::string> producers = producers_of(group, network);
    const bool are_filters =
        !producers.empty() &&
        std::all_of(producers.begin(), producers.end(), [&](const std::string& path) {
          return network.parameter(path).value().ndim() == 4;
        });
    if (!are_filters) continue;
    candidates.push_back(g);
    names.push_back(group.name);
  }
  if (candidates.empty()) return {};
  const std::vector<char> wanted = matched_by(choice.layers, names, key + ".layers"),
                          skipped = matched_by(choice.skip, names, key + ".skip");
  std::vector<size_t> result;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const bool is_bound = groups.groups()[candidates[i]].is_residual && !choice.couples_streams;
    if (wanted[i] != 0 && skipped[i] == 0 && !is_bound) result.push_back(candidates[i]);
  }
  return result;
}

void require_filters(Network& network, const FilterChoice& choice, const std::string& key) {
  const CutGroups groups(network);
  if (!filter_groups(network, groups, choice, key).empty()) return;
  throw RecipeError(str(key, ": expected a convolutional network, got ",
                        network.architecture().model, ", which has no filters to cut"));
}

}  // namespace vtrain
