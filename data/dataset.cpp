#include "data/dataset.h"

#include <cstdio>
#include <cstdlib>
#include <map>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

// Filled by static initialisers, so it must exist before the first of them runs.
std::map<std::string, DatasetEntry>& entries() {
  static std::map<std::string, DatasetEntry> by_name;
  return by_name;
}

/// "data/mnist_idx.cpp" of whatever path the compiler was given.
std::string folder_and_file(std::string_view path) {
  const size_t file = path.rfind('/');
  if (file == std::string_view::npos || file == 0) return std::string(path);
  const size_t folder = path.rfind('/', file - 1);
  return std::string(folder == std::string_view::npos ? path : path.substr(folder + 1));
}

}  // namespace

std::string_view name_of(Split split) { return split == Split::kTrain ? "train" : "test"; }

RegisteredDataset::RegisteredDataset(std::string_view name, std::string_view description,
                                     OpenDataset open, std::string_view source_file) {
  const DatasetEntry entry{std::string(name), std::string(description),
                           folder_and_file(source_file), open};
  const auto [there, added] = entries().try_emplace(entry.name, entry);
  if (added) return;
  std::fprintf(stderr, "data set %s is registered by %s and by %s\n", entry.name.c_str(),
               there->second.source_file.c_str(), entry.source_file.c_str());
  std::abort();
}

std::vector<DatasetEntry> registered_datasets() {
  std::vector<DatasetEntry> all;
  for (const auto& [name, entry] : entries()) all.push_back(entry);
  return all;
}

std::shared_ptr<const Dataset> open_dataset(const std::string& name,
                                            const DatasetOptions& options) {
  const auto found = entries().find(name);
  if (found != entries().end()) return found->second.open(options);
  std::string known;
  for (const auto& [other, entry] : entries()) known += str(known.empty() ? "" : ", ", other);
  throw DataError(str("no data set is called ", name, "; there are ", known));
}

}  // namespace vtrain
