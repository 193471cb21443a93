#include "recipes/recipe.h"

#include <xxhash.h>

#include <algorithm>
#include <map>

#include "recipes/hints.h"
#include "recipes/load.h"
#include "recipes/node.h"
#include "recipes/write.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

namespace recipe_detail {

/// What was read of the mapping at one address, whether it is written there or not.
struct Reading {
  struct Key {
    std::string name;
    KeyInfo info;
  };

  std::string address;
  std::vector<Key> keys;  // in the order of reading, names distinct
  std::map<std::string, std::shared_ptr<Reading>, std::less<>> below;

  bool knows(std::string_view name) const {
    return std::ranges::find(keys, name, &Key::name) != keys.end();
  }
};

}  // namespace recipe_detail

namespace {

using recipe_detail::Entry;
using recipe_detail::joined;
using recipe_detail::Node;
using recipe_detail::number_text;
using recipe_detail::Reading;
using Readings = std::vector<std::shared_ptr<Reading>>;

std::string with_range(const char* type, const Range& range) {
  const std::string text = range.text();
  return text.empty() ? type : str(type, ' ', text);
}

[[noreturn]] void refuse(const Node& value, const std::string& expected) {
  throw RecipeError(str(value.origin.place(), ": ", value.address, ": expected ", expected,
                        ", got ", quote(value)));
}

double number(const Node& value, const Range& range) {
  const auto x = as_number(value);
  if (!x || !range.holds(*x)) refuse(value, with_range("a number", range));
  return *x;
}

int64_t whole_number(const Node& value, const Range& range) {
  const auto x = as_integer(value);
  if (!x || !range.holds(static_cast<double>(*x))) refuse(value, with_range("an integer", range));
  return *x;
}

std::string word(const Node& value) {
  if (value.kind != Node::Kind::kScalar) refuse(value, "text");
  return value.scalar;
}

bool is_null(const Node& value) { return value.kind == Node::Kind::kNull; }

std::string in_brackets(const std::vector<std::string>& words) {
  return str('[', recipe_detail::comma_list(words), ']');
}

template <class T>
std::string list_text(const std::vector<T>& numbers) {
  std::vector<std::string> words;
  words.reserve(numbers.size());
  for (const T x : numbers) words.push_back(number_text(static_cast<double>(x)));
  return in_brackets(words);
}

/// The readings of the mapping under `key`, one for each of `readings`.
Readings below(const Readings& readings, std::string_view key) {
  Readings result;
  for (const auto& reading : readings) {
    auto& child = reading->below[std::string(key)];
    if (!child) child = std::make_shared<Reading>(Reading{joined(reading->address, key), {}, {}});
    result.push_back(child);
  }
  return result;
}

std::vector<std::string> known_keys(const Readings& readings) {
  std::vector<std::string> names;
  for (const auto& reading : readings) {
    for (const Reading::Key& key : reading->keys) {
      if (std::ranges::find(names, key.name) == names.end()) names.push_back(key.name);
    }
  }
  return names;
}

void refuse_unread(const Node& mapping, const Readings& readings) {
  for (const Entry& entry : mapping.entries) {
    const auto knows = [&](const auto& reading) { return reading->knows(entry.key); };
    if (std::ranges::none_of(readings, knows)) {
      throw RecipeError(
          str(entry.origin.place(), ": ", entry.value->address, ": unknown key; ",
              recipe_detail::unknown_key_hint(mapping.address, entry.key, known_keys(readings))));
    }
    if (entry.value->is_mapping()) refuse_unread(*entry.value, below(readings, entry.key));
  }
}

void list_declared(const Reading& reading, std::vector<KeyInfo>& infos) {
  for (const Reading::Key& key : reading.keys) {
    infos.push_back(key.info);
    const auto child = reading.below.find(key.name);
    if (child != reading.below.end()) list_declared(*child->second, infos);
  }
}

/// Whether one of `wanted` is `tree` or below it.
bool holds(const Reading& tree, const Readings& wanted) {
  const auto is_this = [&](const auto& reading) { return reading.get() == &tree; };
  const auto holds_wanted = [&](const auto& child) { return holds(*child.second, wanted); };
  return std::ranges::any_of(wanted, is_this) || std::ranges::any_of(tree.below, holds_wanted);
}

}  // namespace

Recipe::Recipe(NodePtr node, Readings readings)
    : node_(std::move(node)), readings_(std::move(readings)) {}

Recipe::NodePtr Recipe::declare(std::string_view key, const KeyInfo& info) {
  for (const auto& reading : readings_) {
    if (reading->knows(key)) continue;
    reading->keys.push_back({std::string(key), info});
    reading->keys.back().info.address = joined(reading->address, key);
  }
  const Entry* entry = node_->find(key);
  return entry ? entry->value : nullptr;
}

double Recipe::real(std::string_view key, double default_value, Range range,
                    std::string_view help) {
  const NodePtr value =
      declare(key, {"", "number", number_text(default_value), range.text(), std::string(help)});
  return value ? number(*value, range) : default_value;
}

int64_t Recipe::integer(std::string_view key, int64_t default_value, Range range,
                        std::string_view help) {
  const NodePtr value =
      declare(key, {"", "integer", str(default_value), range.text(), std::string(help)});
  return value ? whole_number(*value, range) : default_value;
}

bool Recipe::flag(std::string_view key, bool default_value, std::string_view help) {
  const NodePtr value =
      declare(key, {"", "true or false", str(default_value), "", std::string(help)});
  if (!value) return default_value;
  const auto flag = as_flag(*value);
  if (!flag) refuse(*value, "true or false");
  return *flag;
}

std::string Recipe::text(std::string_view key, std::string_view default_value,
                         std::string_view help) {
  const NodePtr value =
      declare(key, {"", "text", std::string(default_value), "", std::string(help)});
  return value ? word(*value) : std::string(default_value);
}

std::string Recipe::required_text(std::string_view key, std::string_view help) {
  const NodePtr value = declare(key, {"", "text", "required", "", std::string(help)});
  if (!value) fail(key, "missing; expected text");
  return word(*value);
}

std::string Recipe::choice(std::string_view key, std::string_view default_value,
                           const std::vector<std::string>& choices, std::string_view help) {
  const std::string one_of = "one of " + recipe_detail::comma_list(choices);
  const NodePtr value =
      declare(key, {"", "text", std::string(default_value), one_of, std::string(help)});
  if (!value) return std::string(default_value);
  if (value->kind != Node::Kind::kScalar) refuse(*value, one_of);
  if (std::ranges::find(choices, value->scalar) != choices.end()) return value->scalar;
  const std::string near = nearest(value->scalar, choices);
  fail(key, str("expected ", one_of, ", got ", quote(*value),
                near.empty() ? "" : str("; did you mean ", near, '?')));
}

template <class T, class Read>
std::vector<T> Recipe::list(std::string_view key, const std::vector<T>& default_value,
                            const KeyInfo& info, Read read_one) {
  const NodePtr value = declare(key, info);
  if (!value) return default_value;
  if (value->kind == Node::Kind::kScalar) return {read_one(*value)};
  if (value->kind != Node::Kind::kList) refuse(*value, "a " + info.type);
  std::vector<T> items;
  for (const auto& item : value->items) items.push_back(read_one(*item));
  return items;
}

std::vector<int64_t> Recipe::integers(std::string_view key,
                                      const std::vector<int64_t>& default_value, Range each,
                                      std::string_view help) {
  return list(key, default_value,
              {"", "list of integers", list_text(default_value), each.text(), std::string(help)},
              [&](const Node& item) { return whole_number(item, each); });
}

std::vector<double> Recipe::reals(std::string_view key, const std::vector<double>& default_value,
                                  Range each, std::string_view help) {
  return list(key, default_value,
              {"", "list of numbers", list_text(default_value), each.text(), std::string(help)},
              [&](const Node& item) { return number(item, each); });
}

std::vector<std::string> Recipe::texts(std::string_view key,
                                       const std::vector<std::string>& default_value,
                                       std::string_view help) {
  return list(key, default_value,
              {"", "list of texts", in_brackets(default_value), "", std::string(help)}, word);
}

std::optional<double> Recipe::maybe_real(std::string_view key, Range range, std::string_view help) {
  const NodePtr value =
      declare(key, {"", "number or null", "null", range.text(), std::string(help)});
  if (!value || is_null(*value)) return std::nullopt;
  return number(*value, range);
}

std::optional<int64_t> Recipe::maybe_integer(std::string_view key, Range range,
                                             std::string_view help) {
  const NodePtr value =
      declare(key, {"", "integer or null", "null", range.text(), std::string(help)});
  if (!value || is_null(*value)) return std::nullopt;
  return whole_number(*value, range);
}

std::optional<std::string> Recipe::maybe_text(std::string_view key, std::string_view help) {
  const NodePtr value = declare(key, {"", "text or null", "null", "", std::string(help)});
  if (!value || is_null(*value)) return std::nullopt;
  return word(*value);
}

Recipe Recipe::section(std::string_view key, std::string_view help) {
  const NodePtr value = declare(key, {"", "section", "", "", std::string(help)});
  const Readings readings = below(readings_, key);
  if (value && value->is_mapping()) return {value, readings};
  if (value && !is_null(*value)) refuse(*value, "a mapping");
  const auto empty = std::make_shared<Node>();
  empty->kind = Node::Kind::kMapping;
  empty->origin = value ? value->origin : node_->origin;
  empty->address = value ? value->address : joined(node_->address, key);
  return {empty, readings};
}

bool Recipe::has(std::string_view key) const {
  const Entry* entry = node_->find(key);
  return entry && !is_null(*entry->value);
}

std::vector<std::string> Recipe::keys() const { return node_->keys(); }

const std::string& Recipe::address() const { return node_->address; }

void Recipe::fail(std::string_view key, const std::string& message) const {
  const Entry* entry = node_->find(key);
  const std::string at = entry ? entry->value->address : joined(node_->address, key);
  throw RecipeError(str(where(key), ": ", at, ": ", message));
}

std::string Recipe::where(std::string_view key) const {
  const Entry* entry = node_->find(key);
  return (entry ? entry->value->origin : node_->origin).place();
}

void Recipe::finish() const { refuse_unread(*node_, readings_); }

std::vector<KeyInfo> Recipe::declared() const {
  std::vector<KeyInfo> infos;
  for (const auto& reading : readings_) list_declared(*reading, infos);
  return infos;
}

Recipe Recipe::merged_with(const Recipe& over) const {
  const auto rest = std::make_shared<Node>(*node_);
  const auto leads_to_over = [&](const Entry& entry) {
    const Readings children = below(readings_, entry.key);
    return std::ranges::any_of(children,
                               [&](const auto& child) { return holds(*child, over.readings_); });
  };
  std::erase_if(rest->entries, leads_to_over);
  Readings readings = readings_;
  for (const auto& reading : over.readings_) {
    if (std::ranges::find(readings, reading) == readings.end()) readings.push_back(reading);
  }
  return {recipe_detail::merged(rest, over.node_), readings};
}

std::string Recipe::yaml(bool with_origins) const {
  return recipe_detail::to_yaml(*node_, with_origins);
}

std::string Recipe::hash(const std::vector<std::string>& ignored) const {
  const std::string content = recipe_detail::canonical(*node_, ignored);
  constexpr char kHex[] = "0123456789abcdef";
  uint64_t rest = XXH64(content.data(), content.size(), /*seed=*/0);
  std::string digits(16, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, rest /= 16) {
    *digit = kHex[rest % 16];
  }
  return digits;
}

Recipe Recipe::from_file(const std::string& path, const std::vector<std::string>& overrides) {
  const auto root = recipe_detail::load_file(path);
  for (const std::string& override : overrides) recipe_detail::apply_override(*root, override);
  set_addresses(*root, "");
  return {root, {std::make_shared<Reading>()}};
}

Recipe Recipe::from_text(std::string_view yaml, const std::string& name,
                         const std::vector<std::string>& overrides) {
  const auto root = recipe_detail::load_text(yaml, name);
  for (const std::string& override : overrides) recipe_detail::apply_override(*root, override);
  set_addresses(*root, "");
  return {root, {std::make_shared<Reading>()}};
}

}  // namespace vtrain
