#include "data/dataset.h"

#include "tensor/error.h"
#include "tensor/registry.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

// Filled by static initialisers, so it must exist before the first of them runs.
Registry<DatasetEntry>& registry() {
  static Registry<DatasetEntry> entries;
  return entries;
}

}  // namespace

std::string_view name_of(Split split) { return split == Split::kTrain ? "train" : "test"; }

void Dataset::encoded(int64_t, EncodedImage&) const {
  throw Error(str("data set ", name(), " keeps no image files"));
}

RegisteredDataset::RegisteredDataset(const std::string& name, const std::string& description,
                                     OpenDataset open, const std::string& source_file) {
  const std::string file = tree_path(source_file);
  registry().add(name, {name, description, file, open}, file);
}

std::vector<DatasetEntry> registered_datasets() {
  std::vector<DatasetEntry> all;
  for (const auto& [name, entry] : registry().entries()) all.push_back(entry.first);
  return all;
}

std::shared_ptr<const Dataset> open_dataset(const std::string& name,
                                            const DatasetOptions& options) {
  if (const DatasetEntry* const found = registry().find(name)) return found->open(options);
  std::string known;
  for (const DatasetEntry& entry : registered_datasets()) {
    known += str(known.empty() ? "" : ", ", entry.name);
  }
  throw DataError(str("no data set is called ", name, "; there are ", known));
}

}  // namespace vtrain
