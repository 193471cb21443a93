#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vtrain {

/// The numbers a key accepts; `text` is how an error describes them ("expected a number in (0,
/// 1]").
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  // open: the bound itself is refused
  bool holds(double x) const;
  std::string text() const;  // "in (0, 1]", "at least 0", "above 0", "" when unbounded
};
Range at_least(double low);
Range above(double low);
Range in(double low, double high);           // [low, high]
Range in_open_low(double low, double high);  // (low, high], what a keep ratio is

/// Where a value was written. `line` and `column` count from 1; line 0 means "no particular line":
/// a whole file, the command line.
struct Origin {
  std::string file;
  int line = 0, column = 0;
  std::string text() const;   // "recipes/x.yaml:14:5", or "command line"
  std::string place() const;  // "recipes/x.yaml:14": how errors about values begin
};

/// What a key is: collected by reading it, printed by `vtrain check --schema`.
struct KeyInfo {
  std::string address;  // phases.sparse.compress.dynamicvit.keep_ratio
  std::string type;     // "number", "integer", "true or false", "text", "list of integers", ...
  std::string default_text, range, help;
};

namespace recipe_detail {
struct Node;
struct Reading;
}  // namespace recipe_detail

/// One mapping of a recipe. Every key is declared by reading it: name, default, range and a line of
/// help stand in the code that uses the value and nowhere else. `finish()` then refuses what nobody
/// read.
///
/// A handle: copies share what was read. Values are strictly typed: a number is not text, a quoted
/// "0.5" is not a number, only true and false are flags, null is accepted by the `maybe_` readers
/// alone. All readers throw RecipeError with file, line, address, expected and got:
///     x.yaml:14: phases.sparse.optim.lr: expected a number above 0, got fast
class Recipe {
 public:
  double real(std::string_view key, double default_value, Range range = {},
              std::string_view help = "");
  int64_t integer(std::string_view key, int64_t default_value, Range range = {},
                  std::string_view help = "");
  bool flag(std::string_view key, bool default_value, std::string_view help = "");
  std::string text(std::string_view key, std::string_view default_value,
                   std::string_view help = "");
  std::string required_text(std::string_view key, std::string_view help = "");
  /// One of `choices`; the error lists them and names the nearest.
  std::string choice(std::string_view key, std::string_view default_value,
                     const std::vector<std::string>& choices, std::string_view help = "");
  /// Lists. A value alone stands for a list of one.
  std::vector<int64_t> integers(std::string_view key, const std::vector<int64_t>& default_value,
                                Range each = {}, std::string_view help = "");
  std::vector<double> reals(std::string_view key, const std::vector<double>& default_value,
                            Range each = {}, std::string_view help = "");
  std::vector<std::string> texts(std::string_view key,
                                 const std::vector<std::string>& default_value,
                                 std::string_view help = "");
  /// `null`, or absent: nullopt.
  std::optional<double> maybe_real(std::string_view key, Range range = {},
                                   std::string_view help = "");
  std::optional<int64_t> maybe_integer(std::string_view key, Range range = {},
                                       std::string_view help = "");
  std::optional<std::string> maybe_text(std::string_view key, std::string_view help = "");

  /// The mapping under `key`, empty if absent or null. Reading it declares the key.
  Recipe section(std::string_view key, std::string_view help = "");
  bool has(std::string_view key) const;   // present and not null
  std::vector<std::string> keys() const;  // in the file's order
  const std::string& address() const;     // "" at the root, else "phases.sparse"

  /// A RecipeError at `key`: "file:line: address.key: message". For checks that need more than a
  /// range.
  [[noreturn]] void fail(std::string_view key, const std::string& message) const;
  /// "recipes/x.yaml:14": the place of that value, or of this section.
  std::string where(std::string_view key) const;

  /// Throws for the first key, here or in any section below, that no reader asked for; names the
  /// nearest declared key of that mapping.
  void finish() const;
  std::vector<KeyInfo> declared() const;  // of this mapping and of those below

  /// This mapping with `over` merged on top, key by key, lists replaced, null replacing what was
  /// there. Each value keeps its own origin and address; a mapping written in both has the address
  /// of `over`'s. If `over` is a part of this mapping (a phase of the root), the key it stands
  /// under (`phases`) is left out. What is read through the result counts as read in both sources,
  /// so `finish()` on the root sees what the phases read.
  Recipe merged_with(const Recipe& over) const;

  /// The mapping as YAML text, and with `with_origins` a comment "# file:line" behind every value.
  std::string yaml(bool with_origins = false) const;
  /// 16 hex digits of a hash of the content (not of comments, order or origins), without the keys
  /// in `ignored` (addresses counted from this mapping). 1e-3 and 0.001 are the same content, and
  /// so are abc and "abc".
  std::string hash(const std::vector<std::string>& ignored = {}) const;

  /// Reads a file with its `base:` chain (a path beside the file; cycles are an error), then
  /// applies `overrides`: "a.b=v" sets a key (one that nobody reads is refused by finish()) but
  /// makes no new phase,
  /// "+a.b=v" adds one that must not be there yet, "~a.b" deletes one that must. v is YAML and
  /// replaces what was there, also where both are mappings.
  static Recipe from_file(const std::string& path, const std::vector<std::string>& overrides = {});
  /// The same from text; `name` stands for the file in messages.
  static Recipe from_text(std::string_view yaml, const std::string& name = "text",
                          const std::vector<std::string>& overrides = {});

 private:
  using NodePtr = std::shared_ptr<recipe_detail::Node>;
  using Readings = std::vector<std::shared_ptr<recipe_detail::Reading>>;
  Recipe(NodePtr node, Readings readings);
  /// Notes `key` as known in every source of this mapping; its value, or nullptr if it is absent.
  NodePtr declare(std::string_view key, const KeyInfo& info);
  template <class T, class Read>
  std::vector<T> list(std::string_view key, const std::vector<T>& default_value,
                      const KeyInfo& info, Read read_one);

  NodePtr node_;
  Readings readings_;  // one per mapping this one was merged from; several only after merged_with
};

/// The entry of `known` that is nearest to `word` by edit distance, if it is near enough to be a
/// slip; else "".
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace vtrain
