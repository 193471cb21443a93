#pragma once

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>

namespace vtrain {

/// What a run folder says of its run from the first moment on.
struct RunRecord {
  std::string recipe_yaml;       // recipe.yaml, the merged recipe
  std::string command_line;      // cmdline.txt
  std::string environment_json;  // env.json
  std::string recipe_hash;       // recipe.hash: what find_resumable compares
};

/// Makes `out_dir/<name>-<yyyymmdd-hhmmss>/` (local time; with -2, -3, ... if it is there already:
/// nothing is overwritten), writes the record into it and points `out_dir/last` to it. Returns the
/// folder. Throws RecipeError if `name` is not a plain file name, IoError "path: reason" if
/// something cannot be written.
std::filesystem::path create_run_folder(const std::filesystem::path& out_dir,
                                        const std::string& name, const RunRecord& record,
                                        std::time_t now = std::time(nullptr));

/// The newest of the run folders of exactly that name whose recipe hash is equal: what `--resume`
/// continues. A folder without a hash (the process died while making it) is passed over. `nullopt`
/// if there is none, or no `out_dir`.
std::optional<std::filesystem::path> find_resumable(const std::filesystem::path& out_dir,
                                                    const std::string& name,
                                                    const std::string& recipe_hash);

/// Points `folder/../last` to the folder, at once (a reader sees the old target or the new). Throws
/// IoError.
void point_last_to(const std::filesystem::path& folder);

}  // namespace vtrain
