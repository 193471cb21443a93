#include <algorithm>

#include "recipes/hints.h"
#include "recipes/load.h"
#include "recipes/yaml_tree.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain::recipe_detail {
namespace {

constexpr const char* kCommandLine = "command line";

[[noreturn]] void fail(std::string_view address, const std::string& message) {
  throw RecipeError(str(kCommandLine, ": ", address, ": ", message));
}

/// "a.b.c" as {"a", "b", "c"}.
std::vector<std::string> parts_of(std::string_view address) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= address.size();) {
    const size_t dot = std::min(address.find('.', start), address.size());
    parts.emplace_back(address.substr(start, dot - start));
    if (parts.back().empty()) fail(address, "expected keys with single dots between them");
    start = dot + 1;
  }
  return parts;
}

void require_mapping(const Node& node, const std::string& address) {
  if (node.is_mapping()) return;
  fail(address, str("expected a mapping, got ", quote(node), " at ", node.origin.place()));
}

/// The mapping that holds the last part, made where it is absent or null.
Node& parent_made(Node& root, const std::vector<std::string>& parts) {
  Node* mapping = &root;
  std::string address;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    address = joined(address, parts[i]);
    if (!mapping->find(parts[i])) {
      mapping->entries.push_back({parts[i], {kCommandLine}, std::make_shared<Node>()});
    }
    Node& below = *mapping->find(parts[i])->value;
    if (below.kind == Node::Kind::kNull) {
      below.kind = Node::Kind::kMapping;
      below.origin = {kCommandLine};
    }
    require_mapping(below, address);
    mapping = &below;
  }
  return *mapping;
}

/// Phases have free names, so nothing would refuse a misspelt one later: it would be trained.
void refuse_new_phase(const Node& root, const std::vector<std::string>& parts,
                      std::string_view override) {
  const Entry* phases = root.find("phases");
  if (parts.size() < 2 || parts[0] != "phases" || !phases || !phases->value->is_mapping()) return;
  if (phases->value->find(parts[1])) return;
  const std::vector<std::string> known = phases->value->keys();
  const std::string near = nearest(parts[1], known);
  fail(joined(parts[0], parts[1]), str("no such phase; ",
                                       near.empty() ? str("there is: ", comma_list(known), '.')
                                                    : str("did you mean ", near, '?'),
                                       " A new one is added with +", override));
}

void set(Node& root, std::string_view address, std::string_view value, bool must_be_new) {
  const std::vector<std::string> parts = parts_of(address);
  if (!must_be_new) refuse_new_phase(root, parts, str(address, '=', value));
  Node& parent = parent_made(root, parts);
  Entry entry{parts.back(), {kCommandLine}, parse_value(value, std::string(address))};
  Entry* existing = parent.find(parts.back());
  if (existing && must_be_new) {
    fail(address, str("is there already, at ", existing->origin.place(),
                      "; to change it: ", address, "=", value));
  }
  if (existing) {
    *existing = std::move(entry);
  } else {
    parent.entries.push_back(std::move(entry));
  }
}

void remove(Node& root, std::string_view address) {
  const std::vector<std::string> parts = parts_of(address);
  Node* mapping = &root;
  std::string so_far;
  for (size_t i = 0; i < parts.size(); ++i) {
    require_mapping(*mapping, so_far);
    const Entry* entry = mapping->find(parts[i]);
    so_far = joined(so_far, parts[i]);
    if (!entry) {
      const std::string near = nearest(parts[i], mapping->keys());
      fail(so_far, near.empty()
                       ? str("no such key to delete; there is: ", comma_list(mapping->keys()))
                       : str("no such key to delete; did you mean ", near, '?'));
    }
    if (i + 1 < parts.size()) mapping = entry->value.get();
  }
  std::erase_if(mapping->entries, [&](const Entry& e) { return e.key == parts.back(); });
}

}  // namespace

void apply_override(Node& root, std::string_view override) {
  const size_t equals = override.find('=');
  const bool has_value = equals != std::string_view::npos && equals > 0;
  if (override.starts_with('~')) {
    if (has_value) fail(override, "a key is deleted without a value: ~a.b");
    return remove(root, override.substr(1));
  }
  const bool adds = override.starts_with('+');
  if (!has_value) fail(override, "expected a.b=value, +a.b=value or ~a.b");
  set(root, override.substr(adds ? 1 : 0, equals - (adds ? 1 : 0)), override.substr(equals + 1),
      adds);
}

}  // namespace vtrain::recipe_detail
