// The rules of the tree that no compiler checks: who includes whom, one door per outside library,
// and that every compression method brings its recipe and its test.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/temporary_folder.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

const std::vector<std::string> kFolders = {"tensor",   "autograd", "nn",    "recipes",
                                           "compress", "data",     "train", "app"};

// tensor <- autograd <- nn <- compress <- train <- app, tensor <- data <- train
const std::map<std::string, std::vector<std::string>> kMayInclude = {
    {"tensor", {"tensor/"}},
    {"autograd", {"tensor/", "autograd/"}},
    {"nn", {"tensor/", "autograd/", "nn/", "recipes/recipe.h"}},
    {"recipes", {"tensor/", "recipes/"}},
    {"compress", {"tensor/", "autograd/", "nn/", "compress/", "recipes/recipe.h"}},
    {"data", {"tensor/", "data/", "recipes/recipe.h"}},
    {"train", {"tensor/", "autograd/", "nn/", "compress/", "data/", "train/", "recipes/recipe.h"}},
    {"app",
     {"tensor/", "autograd/", "nn/", "compress/", "data/", "train/", "app/", "recipes/recipe.h"}},
};

/// An outside library, and the files that may include it.
struct Door {
  std::vector<std::string> headers;  // how its includes begin
  bool (*open)(const std::string& file);
  std::string rule;
};

bool is_header(const std::string& file) { return file.ends_with(".h"); }
bool is_cuda(const std::string& file) { return file.find("_cuda.") != std::string::npos; }

const std::vector<Door> kDoors = {
    {{"CLI/"},
     [](const std::string& file) { return file.starts_with("app/"); },
     "only app/ parses a command line"},
    {{"dnnl", "oneapi/dnnl"},
     [](const std::string& file) {
       return file.starts_with("tensor/onednn.") || file.ends_with("_cpu.cpp");
     },
     "oneDNN is included in tensor/onednn.* and *_cpu.cpp only"},
    {{"yaml-cpp/"},
     [](const std::string& file) { return file.starts_with("recipes/") && !is_header(file); },
     "yaml-cpp is included in recipes/*.cpp only"},
    {{"cuda", "cudnn", "cublas"}, is_cuda, "CUDA's libraries are included in *_cuda.* only"},
    {{"jpeglib", "jerror"},
     [](const std::string& file) { return file == "data/decode_jpeg.cpp"; },
     "libjpeg is included in data/decode_jpeg.cpp only"},
    {{"stb/"},
     [](const std::string& file) {
       return file == "data/decode_stb.cpp" || file == "data/encode_png.cpp";
     },
     "stb's headers are included in data/decode_stb.cpp and data/encode_png.cpp only"},
    {{"onnx/", "google/protobuf"},
     [](const std::string& file) { return file == "compress/deploy/onnx/file.cpp"; },
     "ONNX's library is included in compress/deploy/onnx/file.cpp only"},
    {{"nlohmann/"},
     [](const std::string& file) { return !is_header(file); },
     "nlohmann/json is slow to compile and stays out of headers"},
};

bool begins_with_any(std::string_view text, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return text.starts_with(prefix); });
}

/// The path in `#include "x"` or `#include <x>`; "" if the line is none.
std::string included_by(const std::string& line, char open, char close) {
  if (!line.starts_with("#include")) return "";
  const size_t begin = line.find(open);
  if (begin == std::string::npos) return "";
  const size_t end = line.find(close, begin + 1);
  return end == std::string::npos ? "" : line.substr(begin + 1, end - begin - 1);
}

/// What is wrong with the includes of `file` (its path from the root), one message each.
std::vector<std::string> include_errors(const std::string& file, std::istream& text) {
  std::vector<std::string> errors;
  const std::vector<std::string>& allowed = kMayInclude.at(file.substr(0, file.find('/')));
  for (std::string line; std::getline(text, line);) {
    const std::string ours = included_by(line, '"', '"');
    const std::string theirs = included_by(line, '<', '>');
    const std::string& included = ours.empty() ? theirs : ours;
    if (begins_with_any(ours, {"tests/", "bench/"}) ||
        (begins_with_any(ours, {"tensor/", "autograd/", "nn/", "recipes/", "compress/", "data/",
                                "train/", "app/"}) &&
         !begins_with_any(ours, allowed))) {
      errors.push_back(file + ": includes " + ours + ", against the direction of the layers");
    }
    for (const Door& door : kDoors) {
      if (begins_with_any(included, door.headers) && !door.open(file)) {
        errors.push_back(file + ": includes " + included + ", but " + door.rule);
      }
    }
  }
  return errors;
}

std::vector<std::string> include_errors(const std::string& file, const std::string& text) {
  std::istringstream in(text);
  return include_errors(file, in);
}

/// Paths of the files below `root/folder` from `root`; none if there is no such folder.
std::vector<std::string> files_below(const fs::path& root, const std::string& folder) {
  std::vector<std::string> files;
  if (!fs::is_directory(root / folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), root).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_source(const std::string& file) {
  return file.ends_with(".h") || file.ends_with(".cpp") || file.ends_with(".cu");
}

/// What the compression methods below `root` lack, one message each.
std::vector<std::string> method_errors(const fs::path& root) {
  std::vector<std::string> errors;
  const std::vector<std::string> recipes = files_below(root, "recipes");
  for (const std::string family : {"prune", "quant", "distill", "vit", "tokens"}) {
    for (const std::string& file : files_below(root, "compress/" + family)) {
      if (!file.ends_with(".cpp")) continue;
      const std::string method = fs::path(file).stem();
      const std::string recipe = "_" + method + ".yaml";
      const std::string test = "tests/compress/" + family + "/" + method + "_test.cpp";
      if (std::none_of(recipes.begin(), recipes.end(),
                       [&](const std::string& path) { return path.ends_with(recipe); })) {
        errors.push_back(file + ": no recipes/*" + recipe);
      }
      if (!fs::exists(root / test)) errors.push_back(file + ": no " + test);
    }
  }
  return errors;
}

/// The name of the type that a header's line defines at file level; "" if the line defines none.
std::string type_defined_by(const std::string& line) {
  static const std::regex definition(
      R"(^(?:class|struct|enum class) (\w+)(?: final)?(?: :.*)? \{.*)");
  std::smatch match;
  return std::regex_match(line, match, definition) ? match[1].str() : "";
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

TEST_CASE("layout: includes point one way, and each outside library has one door") {
  std::vector<std::string> errors;
  int sources = 0;
  for (const std::string& folder : kFolders) {
    for (const std::string& file : files_below(VTRAIN_SOURCE_DIR, folder)) {
      if (!is_source(file)) continue;
      ++sources;
      std::ifstream in(fs::path(VTRAIN_SOURCE_DIR) / file);
      const auto found = include_errors(file, in);
      errors.insert(errors.end(), found.begin(), found.end());
    }
  }
  CHECK(sources > 50);  // else it looked in the wrong place
  CHECK_MESSAGE(errors.empty(), joined(errors));
}

// All share namespace vtrain. Of two types of one name no compiler complains as long as no file
// sees both, but the linker keeps one of their destructors and calls it for either.
TEST_CASE("layout: no two headers define a type of one name") {
  std::map<std::string, std::string> seen;
  std::vector<std::string> errors;
  for (const std::string& folder : kFolders) {
    for (const std::string& file : files_below(VTRAIN_SOURCE_DIR, folder)) {
      if (!is_header(file)) continue;
      std::ifstream in(fs::path(VTRAIN_SOURCE_DIR) / file);
      for (std::string line; std::getline(in, line);) {
        const std::string type = type_defined_by(line);
        if (type.empty()) continue;
        const auto [at, is_new] = seen.try_emplace(type, file);
        if (!is_new) errors.push_back(type + " is defined in " + at->second + " and in " + file);
      }
    }
  }
  CHECK(seen.size() > 50);  // else it looked in the wrong place
  CHECK_MESSAGE(errors.empty(), joined(errors));
}

TEST_CASE("layout: a line that defines a type is told from one that only names it") {
  CHECK(type_defined_by("class Linear final : public Module {") == "Linear");
  CHECK(type_defined_by("struct Gelu {  // why") == "Gelu");
  CHECK(type_defined_by("enum class Slot { kMask };") == "Slot");
  CHECK(type_defined_by("class Hooks;").empty());
  CHECK(type_defined_by("struct DTypeOf<float> {").empty());
  CHECK(type_defined_by("  struct Nested {").empty());
}

TEST_CASE("layout: every compression method has a recipe and a test") {
  const std::vector<std::string> errors = method_errors(VTRAIN_SOURCE_DIR);
  CHECK_MESSAGE(errors.empty(), joined(errors));
}

TEST_CASE("layout: an include against the direction of the layers is found") {
  CHECK(include_errors("autograd/x.cpp", "#include \"nn/module.h\"\n").size() == 1);
  CHECK(include_errors("data/x.cpp", "#include \"nn/module.h\"\n").size() == 1);
  CHECK(include_errors("compress/vit/x.cpp", "#include \"train/trainer.h\"\n").size() == 1);
  CHECK(include_errors("nn/x.cpp", "#include \"recipes/load.h\"\n").size() == 1);
  CHECK(include_errors("recipes/x.cpp", "#include \"data/y.h\"\n").size() == 1);
  CHECK(include_errors("train/x.cpp", "#include \"tests/y.h\"\n").size() == 1);
  CHECK(include_errors("nn/x.cpp", "#include \"recipes/recipe.h\"\n#include \"nn/y.h\"\n").empty());
}

TEST_CASE("layout: an outside library included beside its door is found") {
  CHECK(include_errors("train/x.cpp", "#include <CLI/CLI.hpp>\n").size() == 1);
  CHECK(include_errors("app/x.cpp", "#include <CLI/CLI.hpp>\n").empty());
  CHECK(include_errors("nn/x.cpp", "#include <dnnl.hpp>\n").size() == 1);
  CHECK(include_errors("tensor/ops/x_cpu.cpp", "#include <dnnl.hpp>\n").empty());
  CHECK(include_errors("recipes/x.h", "#include <yaml-cpp/yaml.h>\n").size() == 1);
  CHECK(include_errors("recipes/x.cpp", "#include <yaml-cpp/yaml.h>\n").empty());
  CHECK(include_errors("tensor/ops/x.cpp", "#include <cuda_runtime.h>\n").size() == 1);
  CHECK(include_errors("tensor/ops/x_cuda.cpp", "#include <cuda_runtime.h>\n").empty());
  CHECK(include_errors("compress/deploy/onnx.cpp", "#include <onnx/onnx_pb.h>\n").size() == 1);
  CHECK(include_errors("compress/deploy/onnx/file.cpp", "#include <onnx/onnx_pb.h>\n").empty());
  CHECK(include_errors("train/x.h", "#include <nlohmann/json.hpp>\n").size() == 1);
  CHECK(include_errors("data/x.cpp", "#include <jpeglib.h>\n").size() == 1);
  CHECK(include_errors("data/x.cpp", "#include <stb/stb_image.h>\n").size() == 1);
}

TEST_CASE("layout: a method without a recipe or without a test is found") {
  const TemporaryFolder root;
  const auto write = [&](const std::string& file) {
    fs::create_directories(fs::path(root / file).parent_path());
    std::ofstream(root / file) << "x";
  };
  write("compress/distill/dkd.cpp");
  CHECK(
      method_errors(root.path()) ==
      std::vector<std::string>{"compress/distill/dkd.cpp: no recipes/*_dkd.yaml",
                               "compress/distill/dkd.cpp: no tests/compress/distill/dkd_test.cpp"});
  write("recipes/resnet8x4_dkd.yaml");
  write("tests/compress/distill/dkd_test.cpp");
  CHECK(method_errors(root.path()).empty());
}

TEST_CASE("layout: a device of the CPU's kernels has every table of kernels there is") {
  const std::string root = VTRAIN_SOURCE_DIR;
  const std::string listed = file_content(root + "/tests/kernel_tables.h");
  const std::regex table(R"(inline constinit PerDevice<\w+Kernels> (\w+)\{)");
  int found = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root + "/tensor")) {
    if (entry.path().extension() != ".h") continue;
    const std::string text = file_content(entry.path().string());
    for (std::sregex_iterator at(text.begin(), text.end(), table), end; at != end; ++at) {
      const std::string name = (*at)[1];
      CAPTURE(name);
      CHECK(listed.find("retag<Policy, " + name + ">") != std::string::npos);
      ++found;
    }
  }
  CHECK(found > 10);
}

}  // namespace
}  // namespace vtrain
