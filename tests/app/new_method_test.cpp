// `vtrain new method` writes a method that is complete: what it writes is the worked example, which
// is built and tested with the tree, under another name. tests/app/plugin_test.cpp compiles and
// runs what it writes outside the tree.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;

/// A folder that looks like vtrain's tree.
void make_tree(const TemporaryFolder& folder) {
  fs::create_directories(folder / "compress");
  put_file(folder / "compress/registry.h", "");
}

std::string tree_file(const std::string& path) {
  return file_content(std::string(VTRAIN_SOURCE_DIR) + "/" + path);
}

/// `text` with every `from` replaced.
std::string with(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

TEST_CASE("new method: in the tree it writes the three files of the worked example, renamed") {
  const TemporaryFolder folder;
  make_tree(folder);
  const ProcessResult result =
      run_vtrain({"new", "method", "soft_zeros", "--family", "quant", "--folder", folder.path()});
  REQUIRE_MESSAGE(result.exit_code == 0, result.errors);
  const auto check_file = [&](const std::string& written, const std::string& original) {
    CAPTURE(written);
    const std::string renamed =
        with(with(tree_file(original), "example", "soft_zeros"), "Example", "SoftZeros");
    CHECK(file_content(folder / written) == renamed);
    CHECK(result.output.find("wrote " + written) != std::string::npos);
  };
  check_file("compress/quant/soft_zeros.cpp", "compress/prune/example.cpp");
  check_file("recipes/vgg28_soft_zeros.yaml", "recipes/vgg28_example.yaml");
  check_file("tests/compress/quant/soft_zeros_test.cpp", "tests/compress/prune/example_test.cpp");
  const std::string source = file_content(folder / "compress/quant/soft_zeros.cpp");
  CHECK(source.find("class SoftZeros final : public Method") != std::string::npos);
  CHECK(source.find("const Registered<SoftZeros> registered(") != std::string::npos);
  CHECK(source.find("\"soft_zeros\", \"arXiv:1506.02626\"") != std::string::npos);
}

TEST_CASE("new method: bad names, families and files that are there are refused, exit 2") {
  const TemporaryFolder folder;
  make_tree(folder);
  const auto refused = [&](std::vector<std::string> arguments, const std::string& why) {
    arguments.insert(arguments.begin(), {"new", "method"});
    arguments.insert(arguments.end(), {"--folder", folder.path()});
    const ProcessResult result = run_vtrain(arguments);
    CAPTURE(result.errors);
    CHECK(result.exit_code == 2);
    CHECK(result.errors.find(why) != std::string::npos);
    CHECK(!fs::exists(folder / "recipes"));
  };
  for (const char* const name : {"Sparse", "2bit", "a-b", "a__b", "_a", "a_", "../x", "class", ""})
    refused({name}, "expected a name in lower case");
  refused({"magnitude"}, "magnitude: is taken, by compress/prune/magnitude.cpp");
  refused({"fresh", "--family", "vision"}, "expected one of prune, quant, distill, vit, tokens");
  fs::create_directories(folder / "tests/compress/prune");
  put_file(folder / "tests/compress/prune/fresh_test.cpp", "mine");
  refused({"fresh"}, "tests/compress/prune/fresh_test.cpp: is there already; nothing is written");
  CHECK(!fs::exists(folder / "compress/prune/fresh.cpp"));
  CHECK(file_content(folder / "tests/compress/prune/fresh_test.cpp") == "mine");
}

TEST_CASE("new method: a second one in a project of one's own leaves its CMakeLists.txt alone") {
  const TemporaryFolder folder;
  REQUIRE(run_vtrain({"new", "method", "one", "--folder", folder.path()}).exit_code == 0);
  put_file(folder / "CMakeLists.txt", "# mine\n");
  REQUIRE(run_vtrain({"new", "method", "two", "--folder", folder.path()}).exit_code == 0);
  CHECK(file_content(folder / "CMakeLists.txt") == "# mine\n");
  for (const char* const file : {"one.cpp", "one.yaml", "two.cpp", "two.yaml"})
    CHECK(fs::exists(folder / file));
}

}  // namespace
}  // namespace vtrain
