#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recipes/recipe.h"

namespace vtrain::recipe_detail {

struct Node;
using NodePtr = std::shared_ptr<Node>;

struct Entry {
  std::string key;
  Origin origin;  // of the key
  NodePtr value;  // never null
};

/// A value of a recipe: what a YAML node is, with the place and the address it was written at. A
/// tree is built and changed only while it is loaded; afterwards recipes and merged recipes share
/// its nodes.
struct Node {
  enum class Kind { kNull, kScalar, kList, kMapping };

  Kind kind = Kind::kNull;
  Origin origin;        // of a scalar; a list, mapping or null in a mapping has its key's
  std::string address;  // "optim.lr", "at[1]"; "" at the root
  std::string scalar;   // as written, without quotes
  bool is_quoted = false;
  std::vector<NodePtr> items;  // of a list
  std::vector<Entry> entries;  // of a mapping, keys distinct, in the order written

  bool is_mapping() const { return kind == Kind::kMapping; }
  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);
  std::vector<std::string> keys() const;
};

/// "optim" and "lr" make "optim.lr"; at the root ("") just "lr".
std::string joined(const std::string& address, std::string_view key);

NodePtr deep_copy(const Node& node);

/// Gives `node` and everything below it its address.
void set_addresses(Node& node, const std::string& address);

/// `over` on top of `base`, mappings key by key, everything else replaced. Shares nodes with both.
NodePtr merged(const NodePtr& base, const NodePtr& over);

/// The value as errors quote it: 1.3, "0.5", [1, 2], a mapping, null.
std::string quote(const Node& node);

/// The value of a scalar that was written without quotes and is all of that type; else nullopt.
std::optional<double> as_number(const Node& node);  // finite
std::optional<int64_t> as_integer(const Node& node);
std::optional<bool> as_flag(const Node& node);

/// The shortest text that reads back as `x`, without an exponent where x is a whole number of at
/// most 15 digits.
std::string number_text(double x);

}  // namespace vtrain::recipe_detail
