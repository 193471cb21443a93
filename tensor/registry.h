#pragma once

#include <map>
#include <string>
#include <vector>

namespace vtrain {

/// Ends the program with a message that names both files; collects it while CollectedConflicts
/// lives.
void refuse_second(const std::string& name, const std::string& first, const std::string& second);

/// While one lives, a name that is registered a second time is noted and the first stays: for
/// plug-ins, whose mistakes are somebody's to mend. One at a time, on the main thread.
class CollectedConflicts {
 public:
  CollectedConflicts();
  ~CollectedConflicts();
  CollectedConflicts(const CollectedConflicts&) = delete;
  CollectedConflicts& operator=(const CollectedConflicts&) = delete;

  const std::vector<std::string>& messages() const { return messages_; }

 private:
  std::vector<std::string> messages_;
};

/// Things registered by name from static initialisers of the files that define them. Entries are
/// kept in order of names.
template <class Entry>
class Registry {
 public:
  /// `file` is the defining source: two files that register one name are a mistake of ours, found
  /// at start-up and named.
  bool add(const std::string& name, Entry entry, const std::string& file) {
    const auto [at, is_new] = entries_.try_emplace(name, std::move(entry), file);
    if (!is_new) refuse_second(name, at->second.second, file);
    return is_new;
  }
  const Entry* find(const std::string& name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second.first;
  }
  const std::map<std::string, std::pair<Entry, std::string>>& entries() const { return entries_; }

 private:
  std::map<std::string, std::pair<Entry, std::string>> entries_;
};

/// A source path as the tree shows it: what __builtin_FILE() gives, without the part in front of
/// the repository.
inline std::string tree_path(const std::string& file) {
  for (const char* const folder :
       {"/tensor/", "/autograd/", "/nn/", "/compress/", "/data/", "/train/", "/app/"}) {
    const size_t at = file.rfind(folder);
    if (at != std::string::npos) return file.substr(at + 1);
  }
  return file;
}

}  // namespace vtrain
