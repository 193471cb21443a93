#include "recipes/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain::recipe_detail {
namespace {

/// Builds the tree from the parser's events. YAML::Node is not used because it keeps no keys that
/// are written twice, and anchors would make two addresses share one node.
class TreeBuilder final : public YAML::EventHandler {
 public:
  /// Of a file, whose values have lines.
  explicit TreeBuilder(std::string file) : file_(std::move(file)) {}
  /// Of the value at `address` on the command line, where a position in one value would only
  /// confuse.
  static TreeBuilder of_command_line(std::string address) {
    TreeBuilder builder("command line");
    builder.address_ = std::move(address);
    return builder;
  }

  NodePtr take_root() { return root_ ? std::move(root_) : std::make_shared<Node>(); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_) fail(origin(mark), "a second document; a recipe is one");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    finish(leaf(Node::Kind::kNull, mark), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const NodePtr node = leaf(Node::Kind::kScalar, mark);
    node->scalar = value;
    node->is_quoted = tag == "!";  // the parser's word for quotes and block text; "?" is plain
    if (!node->is_quoted) refuse_tag(mark, tag);
    finish(node, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(origin(mark), "an alias inside the value it stands for");
    const NodePtr node = deep_copy(*found->second);
    node->origin = origin(mark);
    finish(node, YAML::NullAnchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(Node::Kind::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    NodePtr node;
    YAML::anchor_t anchor = YAML::NullAnchor;
    NodePtr key;  // of a mapping: read, and waiting for its value
  };

  Origin origin(const YAML::Mark& mark) const {
    return address_.empty() ? Origin{file_, mark.line + 1, mark.column + 1} : Origin{file_};
  }

  [[noreturn]] void fail(const Origin& at, const std::string& message) const {
    throw RecipeError(str(at.text(), ": ", address_, address_.empty() ? "" : ": ", message));
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?") return;
    fail(origin(mark), str("the tag ", tag, " is not understood; a recipe has none"));
  }

  NodePtr leaf(Node::Kind kind, const YAML::Mark& mark) const {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->origin = origin(mark);
    return node;
  }

  bool wants_key() const {
    return !open_.empty() && open_.back().node->is_mapping() && !open_.back().key;
  }

  void start(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor) {
    refuse_tag(mark, tag);
    if (wants_key()) fail(origin(mark), "a key must be a word");
    open_.push_back({leaf(kind, mark), anchor, nullptr});
  }

  void end() {
    const Open done = std::move(open_.back());
    open_.pop_back();
    finish(done.node, done.anchor);
  }

  /// A value is complete: it becomes the root, an item, a key or the value of the key before it.
  void finish(const NodePtr& node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    if (open_.empty()) {
      root_ = node;
    } else if (!open_.back().node->is_mapping()) {
      open_.back().node->items.push_back(node);
    } else if (wants_key()) {
      check_key(*node);
      open_.back().key = node;
    } else {
      const NodePtr key = std::exchange(open_.back().key, nullptr);
      if (node->kind != Node::Kind::kScalar) node->origin = key->origin;
      open_.back().node->entries.push_back({key->scalar, key->origin, node});
    }
  }

  void check_key(const Node& key) const {
    if (key.kind != Node::Kind::kScalar || key.scalar.empty()) {
      fail(key.origin, str("a key must be a word, got ", quote(key)));
    }
    if (const Entry* first = open_.back().node->find(key.scalar)) {
      const std::string place = first->origin.line > 0 ? ", first at " + first->origin.place() : "";
      throw RecipeError(
          str(key.origin.place(), ": ", address_of(key.scalar), ": written twice", place));
    }
  }

  std::string address_of(const std::string& key) const {
    std::string address = address_;
    for (const Open& open : open_) {
      if (open.key) address = joined(address, open.key->scalar);
    }
    return joined(address, key);
  }

  std::string file_;
  std::string address_;  // of the root; empty for a file
  NodePtr root_;
  std::vector<Open> open_;  // the lists and mappings not yet closed, outermost first
  std::map<YAML::anchor_t, NodePtr> anchors_;
};

NodePtr build(std::string_view text, TreeBuilder builder) {
  // The parser hands out events before it has seen the end of a bracket, and some are wrong then:
  // an unclosed list looks like a key. So the whole text is checked first.
  YAML::LoadAll(std::string(text));
  std::istringstream in{std::string(text)};
  YAML::Parser parser(in);
  while (parser.HandleNextDocument(builder)) {
  }
  return builder.take_root();
}

}  // namespace

NodePtr parse_yaml(std::string_view text, const std::string& file) {
  NodePtr root;
  try {
    root = build(text, TreeBuilder(file));
  } catch (const YAML::Exception& e) {
    throw RecipeError(str(file, ':', e.mark.line + 1, ':', e.mark.column + 1, ": ", e.msg));
  }
  if (!root->is_mapping()) {
    throw RecipeError(str(file, ": expected a mapping of keys to values, got ",
                          root->kind == Node::Kind::kNull ? "nothing" : quote(*root)));
  }
  root->origin = {file};
  return root;
}

NodePtr parse_value(std::string_view text, const std::string& address) {
  try {
    NodePtr root = build(text, TreeBuilder::of_command_line(address));
    root->origin = {"command line"};
    return root;
  } catch (const YAML::Exception& e) {
    throw RecipeError(str("command line: ", address, ": ", text, " is not YAML: ", e.msg));
  }
}

}  // namespace vtrain::recipe_detail
