#include "app/method_pages.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "compress/knobs.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream in(file);
  if (!in) throw IoError(str(file.string(), ": cannot be read; pages are made in vtrain's tree"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The comment that opens a file, without its slashes, as Markdown: indented lines are formulas and
/// stand in code blocks.
std::string opening_comment(const fs::path& file) {
  std::string text;
  bool is_code = false;
  for (const std::string& line : lines_of(file)) {
    if (!line.starts_with("//")) break;
    const std::string content = line.substr(std::min<size_t>(line.size(), 3));
    const bool is_indented = content.starts_with("  ") || (is_code && content.starts_with(' '));
    if (is_indented != is_code) text += is_indented ? "```text\n" : "```\n";
    is_code = is_indented;
    text += content + '\n';
  }
  return text + (is_code ? "```\n" : "");
}

/// "|" would end a cell.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string link(const std::string& path) { return str("[", path, "](../../", path, ")"); }

/// The method that a recipe is of: the longest name that ends its own, since "a_kd" ends in "_kd"
/// too.
std::string method_of_recipe(const std::string& file) {
  std::string longest;
  for (const MethodInfo& info : registered_methods()) {
    if (file.ends_with(str("_", info.name, ".yaml")) && info.name.size() > longest.size())
      longest = info.name;
  }
  return longest;
}

std::string recipes_with(const std::string& root, const std::string& method) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(fs::path(root) / "recipes")) {
    const std::string name = entry.path().filename().string();
    if (method_of_recipe(name) == method) found.push_back(name);
  }
  std::ranges::sort(found);
  std::string text;
  for (const std::string& name : found)
    text += str(text.empty() ? "" : ", ", link("recipes/" + name));
  return text;
}

std::string knob_table(const MethodInfo& method) {
  std::string table = "| knob | default | takes | what it is |\n|---|---|---|---|\n";
  for (const Knob& knob : knobs_of(method)) {
    const KeyInfo& k = knob.key;
    const std::string takes = k.range.starts_with("one of ")
                                  ? k.range.substr(7)
                                  : str(k.type, k.range.empty() ? "" : " ", k.range);
    const std::string value = k.default_text.empty() && k.type == "text" ? "\"\"" : k.default_text;
    table += str("| `", k.address, "` | ", value, " | ", cell(takes), " | ", cell(k.help),
                 knob.only_with.empty() ? "" : str("; with `", knob.only_with, "`"), " |\n");
  }
  return table;
}

std::string page_of(const std::string& root, const MethodInfo& method) {
  std::string sentence = method.description + '.';
  sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  std::string page = str("# ", method.name, "\n\n", sentence, "\n\n");
  page += str("* paper: ", method.paper, '\n', "* source: ", link(method.file), '\n');
  if (const std::string recipes = recipes_with(root, method.name); !recipes.empty())
    page += str("* recipe: ", recipes, '\n');
  page += str("* leaves: ", name_of(method.kind), "\n\n");
  page += str(opening_comment(fs::path(root) / method.file), "\n## Knobs\n\n", knob_table(method));
  return page + "\nThis page is made from the source by `vtrain docs`.\n";
}

constexpr const char* kIntro =
    R"(# Compression methods

The techniques of Ding et al., "Review of model compression and acceleration for visual deep learning", CAAI Transactions on
Intelligent Systems 19(5), 2024, DOI 10.11992/tis.202311011, that change how a network trains, with the names they have in recipes.
A name with a link is built; its page has the formulas, where it differs from the paper, and its knobs. The survey's architectures
are in [models.md](../models.md). Any set of methods that is not refused works together, in one phase or one after the other
(`tests/compress/composition_test.cpp`). [How to write another](../write_a_method.md).

| what a method leaves | means |
|---|---|
| dense-smaller | fewer filters, neurons, heads, tokens or blocks: a smaller network of the same kind |
| packed | fewer bits for each weight or activation |
| file-only | zeros among the weights: a smaller file, the same speed |
| training-only | the same network, trained better |
)";

/// Name, title and family of every technique, in the order of docs/methods/survey.txt.
struct Technique {
  std::string family, name, title;
};

std::vector<Technique> survey(const std::string& root) {
  std::vector<Technique> all;
  for (const std::string& line : lines_of(fs::path(root) / "docs/methods/survey.txt")) {
    if (line.starts_with('#') || line.empty()) continue;
    std::istringstream in(line);
    Technique t;
    std::string bar;
    in >> t.family >> t.name >> bar;
    std::getline(in >> std::ws, t.title);
    all.push_back(t);
  }
  return all;
}

std::string readme(const std::string& root) {
  std::string text = kIntro, family;
  std::set<std::string> listed;
  const auto row = [&](const std::string& name, const std::string& title) {
    const MethodInfo* const method = find_method(name);
    const std::string shown = method == nullptr ? name : str("[", name, "](", name, ".md)");
    text += str("| ", shown, " | ", title, " | ",
                method == nullptr ? "not built" : name_of(method->kind), " |\n");
    listed.insert(name);
  };
  const auto heading = [&](const std::string& title) {
    text += str("\n## ", title, "\n\n| name | technique | leaves |\n|---|---|---|\n");
  };
  for (const Technique& t : survey(root)) {
    if (t.family != family) heading(t.family);
    family = t.family;
    row(t.name, t.title);
  }
  const auto is_new = [&](const MethodInfo& m) { return !listed.contains(m.name); };
  const std::vector<MethodInfo> methods = registered_methods();
  if (std::ranges::any_of(methods, is_new)) heading("Others");
  for (const MethodInfo& method : methods) {
    if (is_new(method)) row(method.name, method.description);
  }
  return text + "\nThis page is made by `vtrain docs`.\n";
}

}  // namespace

std::map<std::string, std::string> method_pages(const std::string& root) {
  std::map<std::string, std::string> pages = {{"README.md", readme(root)}};
  for (const MethodInfo& method : registered_methods())
    pages[method.name + ".md"] = page_of(root, method);
  return pages;
}

}  // namespace vtrain
