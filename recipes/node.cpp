#include "recipes/node.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tensor/str.h"

namespace vtrain {

std::string Origin::text() const { return line > 0 ? str(file, ':', line, ':', column) : file; }

std::string Origin::place() const { return line > 0 ? str(file, ':', line) : file; }

namespace recipe_detail {
namespace {

/// All of `text` as a number of type T. from_chars knows no leading '+', and reads "inf" and "nan",
/// which no key accepts.
template <class T>
std::optional<T> parsed(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return std::nullopt;
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

bool is_plain(const Node& node) { return node.kind == Node::Kind::kScalar && !node.is_quoted; }

}  // namespace

const Entry* Node::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? nullptr : &*found;
}

Entry* Node::find(std::string_view key) {
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? nullptr : &*found;
}

std::vector<std::string> Node::keys() const {
  std::vector<std::string> result;
  for (const Entry& entry : entries) result.push_back(entry.key);
  return result;
}

std::string joined(const std::string& address, std::string_view key) {
  return address.empty() ? std::string(key) : str(address, '.', key);
}

NodePtr deep_copy(const Node& node) {
  auto copy = std::make_shared<Node>(node);
  for (NodePtr& item : copy->items) item = deep_copy(*item);
  for (Entry& entry : copy->entries) entry.value = deep_copy(*entry.value);
  return copy;
}

void set_addresses(Node& node, const std::string& address) {
  node.address = address;
  for (size_t i = 0; i < node.items.size(); ++i) {
    set_addresses(*node.items[i], str(address, '[', i, ']'));
  }
  for (Entry& entry : node.entries) set_addresses(*entry.value, joined(address, entry.key));
}

NodePtr merged(const NodePtr& base, const NodePtr& over) {
  if (!base->is_mapping() || !over->is_mapping()) return over;
  auto result = std::make_shared<Node>(*over);
  result->entries = base->entries;
  for (const Entry& entry : over->entries) {
    if (Entry* existing = result->find(entry.key)) {
      *existing = {entry.key, entry.origin, merged(existing->value, entry.value)};
    } else {
      result->entries.push_back(entry);
    }
  }
  return result;
}

std::string quote(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return node.is_quoted ? str('"', node.scalar, '"') : node.scalar;
    case Node::Kind::kMapping:
      return "a mapping";
    case Node::Kind::kList:
      break;
  }
  std::string text = "[";
  for (const NodePtr& item : node.items) text += (text.size() > 1 ? ", " : "") + quote(*item);
  return text + "]";
}

std::optional<double> as_number(const Node& node) {
  return is_plain(node) ? parsed<double>(node.scalar) : std::nullopt;
}

std::optional<int64_t> as_integer(const Node& node) {
  return is_plain(node) ? parsed<int64_t>(node.scalar) : std::nullopt;
}

std::optional<bool> as_flag(const Node& node) {
  if (!is_plain(node)) return std::nullopt;
  if (node.scalar == "true" || node.scalar == "True") return true;
  if (node.scalar == "false" || node.scalar == "False") return false;
  return std::nullopt;
}

std::string number_text(double x) {
  if (x == std::trunc(x) && std::abs(x) < 1e15) return std::to_string(static_cast<int64_t>(x));
  char buffer[32];  // the shortest form of a double has at most 24 characters
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, x).ptr};
}

}  // namespace recipe_detail
}  // namespace vtrain
