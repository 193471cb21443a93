#include "app/new_method.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <regex>

#include "app/method_template.h"
#include "compress/registry.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::array kFamilies{"prune", "quant", "distill", "vit", "tokens"};
// What C++ keeps for itself, among words that a method could be called by.
constexpr std::array kReserved{"auto",    "class",  "delete",   "default", "double",
                               "dynamic", "export", "extern",   "float",   "new",
                               "private", "public", "register", "static",  "switch",
                               "this",    "union",  "virtual",  "void",    "while"};

/// "sparse_vd" -> "SparseVd"
std::string pascal_case(const std::string& name) {
  std::string text;
  bool starts_word = true;
  for (const char c : name) {
    if (c == '_') {
      starts_word = true;
      continue;
    }
    text += starts_word ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    starts_word = false;
  }
  return text;
}

void check(const NewMethod& wanted) {
  const std::string& name = wanted.name;
  static const std::regex identifier("[a-z][a-z0-9]*(_[a-z0-9]+)*");
  const bool is_reserved = std::ranges::find(kReserved, name) != kReserved.end();
  if (!std::regex_match(name, identifier) || is_reserved) {
    throw RecipeError(str(name,
                          ": expected a name in lower case such as sparse_vd: letters, digits ",
                          "and single underscores, no word of C++"));
  }
  if (const MethodInfo* const taken = find_method(name))
    throw RecipeError(str(name, ": is taken, by ", taken->file));
  if (std::ranges::find(kFamilies, wanted.family) == kFamilies.end()) {
    throw RecipeError(
        str("--family ", wanted.family, ": expected one of prune, quant, distill, vit, tokens"));
  }
}

/// The example's text under the new name. Only whole words and parts of snake_case names are the
/// example's; the comment that says where the file came from goes.
std::string renamed(const std::string& text, const NewMethod& wanted) {
  static const std::regex words("(^|[^A-Za-z0-9])(example|Example)(?![A-Za-z0-9])");
  std::string result;
  auto at = text.cbegin();
  for (std::sregex_iterator match(text.begin(), text.end(), words), none; match != none; ++match) {
    result.append(at, (*match)[2].first);
    result += *(*match)[2].first == 'E' ? pascal_case(wanted.name) : wanted.name;
    at = (*match)[2].second;
  }
  result.append(at, text.cend());
  return result;
}

struct NewFile {
  std::string path;  // from the folder
  std::string text;
};

std::vector<NewFile> files_of(const NewMethod& wanted) {
  const std::string source = renamed(method_template.source, wanted),
                    recipe = renamed(method_template.recipe, wanted),
                    test = renamed(method_template.test, wanted);
  if (fs::exists(fs::path(wanted.folder) / "compress" / "registry.h")) {
    return {{str("compress/", wanted.family, '/', wanted.name, ".cpp"), source},
            {str("recipes/vgg28_", wanted.name, ".yaml"), recipe},
            {str("tests/compress/", wanted.family, '/', wanted.name, "_test.cpp"), test}};
  }
  std::vector<NewFile> files = {{wanted.name + ".cpp", source}, {wanted.name + ".yaml", recipe}};
  if (!fs::exists(fs::path(wanted.folder) / "CMakeLists.txt"))
    files.push_back({"CMakeLists.txt", renamed(method_template.project, wanted)});
  return files;
}

void write(const fs::path& path, const std::string& text) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  std::ofstream out(path);
  out << text;
  out.close();
  if (error || !out) throw IoError(str(path.string(), ": cannot be written"));
}

}  // namespace

std::vector<std::string> write_new_method(const NewMethod& wanted) {
  check(wanted);
  const fs::path folder(wanted.folder);
  const std::vector<NewFile> files = files_of(wanted);
  for (const NewFile& file : files) {
    if (fs::exists(folder / file.path))
      throw RecipeError(
          str((folder / file.path).string(), ": is there already; nothing is written"));
  }
  std::vector<std::string> paths;
  for (const NewFile& file : files) {
    write(folder / file.path, file.text);
    paths.push_back(file.path);
  }
  return paths;
}

}  // namespace vtrain
