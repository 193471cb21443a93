#include "recipes/write.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "tensor/str.h"

namespace vtrain::recipe_detail {
namespace {

std::string in_quotes(const std::string& text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += {'\\', 'x', kHex[byte / 16], kHex[byte % 16]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

/// Whether YAML reads `text` back as that very word wherever it stands, also inside brackets.
bool is_word(const std::string& text) {
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const auto is_safe = [&](char c) { return is_alnum(c) || (c != 0 && std::strchr("_./+-", c)); };
  return std::ranges::any_of(text, is_alnum) && std::ranges::all_of(text, is_safe) &&
         text != "null" && text != "Null" && text != "NULL";
}

std::string key_text(const std::string& key) { return is_word(key) ? key : in_quotes(key); }

/// The value within one line.
std::string flow(const Node& node) {
  std::string text;
  switch (node.kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return !node.is_quoted && is_word(node.scalar) ? node.scalar : in_quotes(node.scalar);
    case Node::Kind::kList:
      for (const NodePtr& item : node.items) text += (text.empty() ? "" : ", ") + flow(*item);
      return str('[', text, ']');
    case Node::Kind::kMapping:
      for (const Entry& entry : node.entries) {
        text += str(text.empty() ? "" : ", ", key_text(entry.key), ": ", flow(*entry.value));
      }
      return str('{', text, '}');
  }
  return text;
}

struct Line {
  std::string text, comment;
};

void write_lines(const Node& mapping, const std::string& indent, std::vector<Line>& lines) {
  for (const Entry& entry : mapping.entries) {
    const Node& value = *entry.value;
    const std::string start = str(indent, key_text(entry.key), ':');
    if (value.is_mapping() && !value.entries.empty()) {
      lines.push_back({start, ""});
      write_lines(value, indent + "  ", lines);
    } else {
      lines.push_back({str(start, ' ', flow(value)), value.origin.place()});
    }
  }
}

std::string canonical_scalar(const Node& node) {
  if (const auto flag = as_flag(node)) return str(*flag);
  if (const auto integer = as_integer(node)) return str(*integer);  // all 64 bits of a seed count
  if (const auto number = as_number(node)) return number_text(*number);
  return in_quotes(node.scalar);
}

std::string canonical_value(const Node& node, const std::string& address,
                            const std::vector<std::string>& ignored);

std::string canonical_mapping(const Node& node, const std::string& address,
                              const std::vector<std::string>& ignored) {
  std::map<std::string, std::string> values;
  for (const Entry& entry : node.entries) {
    const std::string below = joined(address, entry.key);
    if (std::ranges::find(ignored, below) != ignored.end()) continue;
    const std::string value = canonical_value(*entry.value, below, ignored);
    const bool was_emptied = value == "{}" && !entry.value->entries.empty();
    if (!was_emptied) values[entry.key] = value;
  }
  std::string text;
  for (const auto& [key, value] : values) text += str(in_quotes(key), ':', value, ',');
  return str('{', text, '}');
}

std::string canonical_value(const Node& node, const std::string& address,
                            const std::vector<std::string>& ignored) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return canonical_scalar(node);
    case Node::Kind::kMapping:
      return canonical_mapping(node, address, ignored);
    case Node::Kind::kList:
      break;
  }
  std::string text;
  for (const NodePtr& item : node.items) text += canonical_value(*item, address, ignored) + ',';
  return str('[', text, ']');
}

}  // namespace

std::string to_yaml(const Node& mapping, bool with_origins) {
  if (mapping.entries.empty()) return "{}\n";
  std::vector<Line> lines;
  write_lines(mapping, "", lines);
  constexpr size_t kWidest = 60;  // one long list does not push every comment off the screen
  size_t width = 0;
  for (const Line& line : lines) {
    if (line.text.size() <= kWidest) width = std::max(width, line.text.size());
  }
  std::string result;
  for (const Line& line : lines) {
    result += line.text;
    if (with_origins && !line.comment.empty()) {
      result.append(line.text.size() < width ? width - line.text.size() : 0, ' ');
      result += "  # " + line.comment;
    }
    result += '\n';
  }
  return result;
}

std::string canonical(const Node& mapping, const std::vector<std::string>& ignored) {
  return canonical_mapping(mapping, "", ignored);
}

}  // namespace vtrain::recipe_detail
