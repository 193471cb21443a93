#include "train/run_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <system_error>
#include <tuple>

#include "tensor/atomic_file.h"
#include "tensor/error.h"
#include "tensor/str.h"
#include "train/files.h"

namespace vtrain {
namespace {

constexpr const char* kHashFile = "recipe.hash";

std::string stamp_of(std::time_t now) {
  std::tm local = {};
  localtime_r(&now, &local);
  std::array<char, 32> text = {};
  const size_t size = std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S", &local);
  return {text.data(), size};
}

/// When a run folder was made: its stamp, and a number among those of one second.
struct Age {
  std::string stamp;
  int number = 1;
  friend bool operator<(const Age& a, const Age& b) {
    return std::tie(a.stamp, a.number) < std::tie(b.stamp, b.number);
  }
};

/// "x-20240131-120000-2" for the name x; nullopt for what is not a run folder of that name. Names
/// may hold dashes and digits themselves, so the form is matched from the name to the end.
std::optional<Age> age_of(std::string_view folder, std::string_view name) {
  constexpr std::string_view kForm = "-dddddddd-dddddd";
  if (!folder.starts_with(name)) return std::nullopt;
  folder.remove_prefix(name.size());
  if (folder.size() < kForm.size()) return std::nullopt;
  const auto fits = [](char form, char c) {
    return form == 'd' ? c >= '0' && c <= '9' : c == form;
  };
  if (!std::equal(kForm.begin(), kForm.end(), folder.begin(), fits)) return std::nullopt;
  Age age{.stamp = std::string(folder.substr(1, kForm.size() - 1))};
  folder.remove_prefix(kForm.size());
  if (folder.empty()) return age;
  if (folder.size() < 2 || folder.front() != '-') return std::nullopt;
  const char* const end = folder.data() + folder.size();
  const auto [stop, error] = std::from_chars(folder.data() + 1, end, age.number);
  if (error != std::errc() || stop != end || age.number < 2) return std::nullopt;
  return age;
}

std::string reason() { return std::generic_category().message(errno); }

}  // namespace

std::filesystem::path create_run_folder(const std::filesystem::path& out_dir,
                                        const std::string& name, const RunRecord& record,
                                        std::time_t now) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    throw RecipeError(str("out.name: expected a file name, got '", name, "'"));
  }
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  if (error) throw IoError(str(out_dir.string(), ": ", error.message()));

  const std::filesystem::path first = out_dir / str(name, "-", stamp_of(now));
  std::filesystem::path folder = first;
  // mkdir itself says whether the name was free, so two runs that start together cannot share a
  // folder.
  for (int number = 2; ::mkdir(folder.c_str(), 0777) != 0; ++number) {
    if (errno != EEXIST) throw IoError(str(folder.string(), ": ", reason()));
    folder = str(first.string(), "-", number);
  }
  write_file_atomically(folder / "recipe.yaml", record.recipe_yaml);
  write_file_atomically(folder / "cmdline.txt", record.command_line);
  write_file_atomically(folder / "env.json", record.environment_json);
  write_file_atomically(folder / kHashFile,
                        record.recipe_hash);  // last: with it the folder can be resumed
  point_last_to(folder);
  return folder;
}

std::optional<std::filesystem::path> find_resumable(const std::filesystem::path& out_dir,
                                                    const std::string& name,
                                                    const std::string& recipe_hash) {
  std::error_code error;
  std::optional<std::filesystem::path> newest;
  Age newest_age;
  std::filesystem::directory_iterator entries(out_dir, error);
  if (error == std::errc::no_such_file_or_directory) return std::nullopt;
  if (error) throw IoError(str(out_dir.string(), ": ", error.message()));
  for (const auto& entry : entries) {
    const std::optional<Age> age = age_of(entry.path().filename().string(), name);
    if (!age || (newest && *age < newest_age)) continue;
    const std::filesystem::path hash_file = entry.path() / kHashFile;
    if (!std::filesystem::exists(hash_file, error)) continue;
    if (read_file(hash_file) != recipe_hash) continue;
    newest = entry.path();
    newest_age = *age;
  }
  return newest;
}

void point_last_to(const std::filesystem::path& folder) {
  const std::filesystem::path last = folder.parent_path() / "last";
  const std::filesystem::path temporary = folder.parent_path() / str(".last-", ::getpid());
  ::unlink(temporary.c_str());  // of a process that died with this number
  // The target is relative, so that the folder of all runs can be moved.
  if (::symlink(folder.filename().c_str(), temporary.c_str()) != 0) {
    throw IoError(str(last.string(), ": ", reason()));
  }
  if (::rename(temporary.c_str(), last.c_str()) != 0) {
    const IoError failure(str(last.string(), ": ", reason()));
    ::unlink(temporary.c_str());
    throw failure;
  }
}

}  // namespace vtrain
