#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace vtrain {

/// Things registered by name from static initialisers of the files that define them. Entries are
/// kept in order of names.
template <class Entry>
class Registry {
 public:
  /// `file` is the defining source: two files that register one name are a mistake of ours, found
  /// at start-up and named.
  bool add(const std::string& name, Entry entry, const std::string& file) {
    const auto [at, is_new] = entries_.try_emplace(name, std::move(entry), file);
    if (!is_new) {
      std::fprintf(stderr, "%s is registered twice: in %s and in %s\n", name.c_str(),
                   at->second.second.c_str(), file.c_str());
      std::abort();
    }
    return true;
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
