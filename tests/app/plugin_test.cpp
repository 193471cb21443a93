// A method outside the tree: installed vtrain, one source file, one shared library, --plugin.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;

void run_cmake(const std::vector<std::string>& arguments) {
  const ProcessResult result = run_program(VTRAIN_CMAKE, arguments);
  REQUIRE_MESSAGE(result.exit_code == 0, result.output << result.errors);
}

/// Quoted includes of installed headers whose files were not installed.
std::vector<std::string> missing_headers(const fs::path& include) {
  std::vector<std::string> missing;
  for (const auto& entry : fs::recursive_directory_iterator(include)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      if (!line.starts_with("#include \"")) continue;
      const std::string header = line.substr(10, line.find('"', 10) - 10);
      if (!fs::exists(include / header)) missing.push_back(entry.path().string() + ": " + header);
    }
  }
  return missing;
}

/// The command line of a small run of the recipe that `vtrain new method` writes.
std::vector<std::string> small_run(const std::string& plugin, const std::string& recipe,
                                   const std::string& out) {
  return {"--plugin",
          plugin,
          recipe,
          "data={name: synthetic, batch_size: 8, limit: 24, val: 0.3}",
          "phases.dense.train.epochs=1",
          "threads=1",
          "amp=off",
          "out.dir=" + out};
}

/// A copy of a file with `from` replaced by `to`, of the same length.
void copy_with(const std::string& file, const std::string& copy, const std::string& from,
               const std::string& to) {
  std::string bytes = file_content(file);
  const size_t at = bytes.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(from.size() == to.size());
  put_file(copy, bytes.replace(at, from.size(), to));
}

/// One line on standard error, exit 8.
void check_refused(const std::vector<std::string>& plugins, const std::string& why) {
  std::vector<std::string> arguments;
  for (const std::string& plugin : plugins) arguments.push_back("--plugin=" + plugin);
  arguments.insert(arguments.end(), {"list", "methods"});
  const ProcessResult result = run_vtrain(arguments);
  CAPTURE(result.errors);
  CHECK(result.exit_code == 8);
  CHECK(result.errors.find(plugins.back() + ": " + why) != std::string::npos);
  CHECK(std::count(result.errors.begin(), result.errors.end(), '\n') == 1);
  CHECK(result.output.empty());
}

TEST_CASE(
    "plug-in: a new method in a project of its own builds against an installed vtrain and runs; "
    "one that does not fit is refused with its reason, exit 8") {
  const TemporaryFolder folder;
  const std::string prefix = folder / "prefix", project = folder / "project";
  run_cmake({"--install", VTRAIN_BINARY_DIR, "--prefix", prefix});
  CHECK(missing_headers(prefix + "/include/vtrain").empty());
  const std::string installed = prefix + "/bin/vtrain";
  const ProcessResult written =
      run_program(installed, {"new", "method", "soft_zeros", "--folder", project});
  REQUIRE_MESSAGE(written.exit_code == 0, written.errors);
  run_cmake({"-G", "Ninja", "-S", project, "-B", project + "/build",
             "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_BUILD_TYPE=Debug"});  // compiles faster
  run_cmake({"--build", project + "/build"});
  const std::string plugin = project + "/build/libmethods.so";

  const ProcessResult run =
      run_program(installed, small_run(plugin, project + "/soft_zeros.yaml", folder / "runs"));
  CHECK_MESSAGE(run.exit_code == 0, run.errors);
  CHECK(run.output.find("methods, as they act: soft_zeros (file-only)") != std::string::npos);
  CHECK(run.output.find("pruned: weights: ") != std::string::npos);
  // The program of the build folder has its own libvtrain.so, of the same headers.
  const ProcessResult list = run_vtrain({"list", "methods", "--plugin", plugin});
  CHECK(list.output.find("soft_zeros") != std::string::npos);
  CHECK(run_vtrain({"list", "methods"}).output.find("soft_zeros") == std::string::npos);

  check_refused({folder / "nothing.so"}, "cannot read: No such file or directory");
  put_file(folder / "text.so", "not a library");
  check_refused({folder / "text.so"}, "expected a shared library (ELF)");
  put_file(folder / "other.so", "\177ELF and no word of vtrain");
  check_refused({folder / "other.so"}, "is no plug-in of vtrain");
  copy_with(plugin, folder / "old.so", "vtrain plug-in for: vtrain 0.",
            "vtrain plug-in for: vtrain 9.");
  check_refused({folder / "old.so"}, "was built for vtrain 9.");
  const std::string bytes = file_content(plugin);
  const size_t stamp = bytes.find("vtrain plug-in for: ");  // and no library around it
  put_file(folder / "cut.so", "\177ELF" + bytes.substr(stamp, bytes.find('\0', stamp) + 1 - stamp));
  check_refused({folder / "cut.so"}, "cannot be loaded: ");
  fs::copy_file(plugin, folder / "again.so");
  check_refused({plugin, folder / "again.so"}, "soft_zeros is registered twice: in ");
}

TEST_CASE("plug-in: --plugin without a file is a mistake of the command line, exit 2") {
  const ProcessResult result = run_vtrain({"list", "methods", "--plugin"});
  CHECK(result.exit_code == 2);
  CHECK(result.errors == "vtrain: --plugin: expected a file behind it\n");
}

}  // namespace
}  // namespace vtrain
