#include "recipes/load.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "recipes/yaml_tree.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain::recipe_detail {
namespace {

namespace fs = std::filesystem;

/// The content of a file. `said_at` begins the error: who asked for the file.
std::string content(const std::string& path, const std::string& said_at) {
  if (fs::is_directory(path)) throw RecipeError(str(said_at, path, ": is a folder, not a recipe"));
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw RecipeError(str(said_at, path, fs::exists(path) ? ": cannot be read" : ": no such file"));
  }
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool same_file(const std::string& a, const std::string& b) {
  return fs::weakly_canonical(a) == fs::weakly_canonical(b);
}

/// `root`, read from the last file of `chain`, on top of the file that its key `base` names.
NodePtr on_its_base(const NodePtr& root, std::vector<std::string> chain) {
  const Entry* entry = root->find("base");
  if (!entry) return root;
  const Node& base = *entry->value;
  const std::string said_at = base.origin.place() + ": base: ";
  if (base.kind != Node::Kind::kScalar || base.scalar.empty()) {
    throw RecipeError(str(said_at, "expected the path of a recipe, got ", quote(base)));
  }
  const fs::path beside = fs::path(chain.back()).parent_path();
  const std::string path = (beside / base.scalar).lexically_normal().string();
  const bool is_cycle =
      std::ranges::any_of(chain, [&](const std::string& file) { return same_file(file, path); });
  chain.push_back(path);
  if (is_cycle) {
    std::string circle;
    for (const std::string& file : chain) circle += (circle.empty() ? "" : " -> ") + file;
    throw RecipeError(str(said_at, "the files name each other: ", circle));
  }
  std::erase_if(root->entries, [](const Entry& e) { return e.key == "base"; });
  return merged(on_its_base(parse_yaml(content(path, said_at), path), chain), root);
}

}  // namespace

NodePtr load_file(const std::string& path) {
  return on_its_base(parse_yaml(content(path, ""), path), {path});
}

NodePtr load_text(std::string_view yaml, const std::string& name) {
  return on_its_base(parse_yaml(yaml, name), {name});
}

}  // namespace vtrain::recipe_detail
