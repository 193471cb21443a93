// Token Merging: Your ViT But Faster. Bolya, Fu, Dai, Zhang, Feichtenhofer, Hoffman, ICLR 2023,
// arXiv:2210.09461.
//
// In every block, behind attention, the r most alike pairs of tokens become one each: fewer tokens
// are computed from there on. Nothing is learned; it works on trained networks as they are, and
// better if they train a while with it.
//
//   metric = mean over heads of the keys of this block            (N, L, d), compared by cosine
//   tokens 0, 2, 4, .. each find the most alike of 1, 3, 5, ..; the r best matches are merged
//   x_b <- (s_b x_b + sum_a s_a x_a) / S_b        S_b = s_b + sum_a s_a        sizes s start at 1
//   attention of later blocks: softmax(q k^T / sqrt(d) + log s)   a token counts for its patches
//
// Class and distillation tokens neither move nor receive. tensor/ops/token_merge.h says the order
// of what is left, which is part of the method: it decides what can be paired next.
//
// Where we differ from the authors' code: a key of zeros is like nothing instead of not a number; a
// token alone keeps its bits; r is taken down to half of the patch tokens there are, as theirs, but
// an r that would take all of them is refused. Heads that average over tokens are not built. What
// was merged is said by Tokens::dest and drawn by `vtrain viz`.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/shape.h"
#include "autograd/token_merge.h"
#include "compress/registry.h"
#include "nn/graph.h"
#include "nn/module_registry.h"

namespace vtrain {
namespace {

/// What two tokens are compared by.
enum class TokenMetric { kKey, kQuery, kValue, kX, kRandom };

/// One block's merge.
struct MergeChoice {
  int64_t r = 0, block = 0;
  TokenMetric metric = TokenMetric::kKey;
  bool is_proportional = true;  // later attention weighs keys by their sizes
};

/// Where the metric stands in the packed queries, keys and values.
MatchOptions columns_of(const Attended& a, TokenMetric metric) {
  switch (metric) {
    case TokenMetric::kQuery:
      return {.begin = 0, .heads = a.num_heads, .width = a.qk_dim};
    case TokenMetric::kKey:
      return {.begin = a.num_heads * a.qk_dim, .heads = a.num_heads, .width = a.qk_dim};
    case TokenMetric::kValue:
      return {.begin = 2 * a.num_heads * a.qk_dim, .heads = a.num_heads, .width = a.v_dim};
    case TokenMetric::kX:
    case TokenMetric::kRandom:
      break;
  }
  throw Error("tome: this metric is no part of attention");
}

/// Random directions, keyed by sample and block: the control that keys must beat.
Variable random_metric(const Tokens& t, const MergeChoice& choice, const Pass& pass) {
  const Random noise(0, "", "tome.random");
  return Variable(noise.normal({t.x.dim(0), t.length(), 8}, {0, pass.first_sample},
                               static_cast<int>(choice.block), DType::f32, t.x.value().device()));
}

Tokens merged(const Tokens& t, const MergeChoice& choice, const Pass& pass) {
  if (t.whole)
    throw Error(str("blocks.", choice.block,
                    ".after_attention: tome cannot merge tokens of which another method lets only "
                    "a part travel; expected it in a phase of its own"));
  if (t.mask.defined() || (t.key_bias.defined() && !t.sizes.defined()))
    throw Error(str("blocks.", choice.block,
                    ".after_attention: tome cannot merge tokens that another method hides or "
                    "weighs; expected it in a phase of its own"));
  const int64_t patches = t.length() - t.num_special, r = std::min(choice.r, patches / 2);
  if (r == 0) return t;  // the same tokens, bit for bit
  Variable x = t.x;
  MatchOptions match{.begin = 0, .heads = 1, .width = t.x.dim(2)};
  if (choice.metric == TokenMetric::kRandom) {
    x = random_metric(t, choice, pass);
    match.width = x.dim(2);
  } else if (choice.metric != TokenMetric::kX) {
    x = t.attended.qkv;
    match = columns_of(t.attended, choice.metric);
  }
  match.num_special = t.num_special;
  match.r = r;
  const Variable to = match_tokens(x, match);
  const int64_t rows = t.length() - r;
  Tokens u = t;
  u.x = merge_rows(t.x, t.sizes, to, rows);
  u.sizes = merge_sizes(t.sizes, to, rows);
  if (choice.is_proportional) u.key_bias = log(cast(u.sizes, wide_of(t.x.value().dtype())));
  if (t.dest.defined()) u.dest = follow(t.dest, to.value());
  u.attended = {};  // its rows are those before
  return u;
}

/// What finish() leaves behind a block's attention.
class MergeTokens final : public Module {
 public:
  explicit MergeTokens(const MergeChoice& choice) : choice_(choice) {}
  explicit MergeTokens(const Attributes& a)
      : choice_{.r = static_cast<int64_t>(a.at("r")),
                .block = static_cast<int64_t>(a.at("block")),
                .metric = static_cast<TokenMetric>(static_cast<int>(a.at("metric"))),
                .is_proportional = a.at("prop_attn") != 0} {}

  Tokens forward_tokens(const Tokens& t, const Pass& pass) override {
    return merged(t, choice_, pass);
  }
  std::string kind() const override { return "tome_merge"; }
  Attributes attributes() const override {
    return {{"r", static_cast<double>(choice_.r)},
            {"block", static_cast<double>(choice_.block)},
            {"metric", static_cast<double>(choice_.metric)},
            {"prop_attn", choice_.is_proportional ? 1 : 0}};
  }

 private:
  MergeChoice choice_;
};

/// The authors' schedule of mean r over `blocks` blocks: constant at inflection 0, falling to 0 at
/// -1, rising from 0 at 1. Truncated, so that a falling one takes a few less.
std::vector<int64_t> schedule_of(int64_t r, double inflection, int64_t blocks) {
  const auto first = static_cast<int64_t>(static_cast<double>(r) * (1 - inflection));
  const int64_t last = 2 * r - first;
  const double step =
      blocks > 1 ? static_cast<double>(last - first) / static_cast<double>(blocks - 1) : 0;
  std::vector<int64_t> all;
  for (int64_t i = 0; i < blocks; ++i) {
    all.push_back(static_cast<int64_t>(static_cast<double>(first) + step * static_cast<double>(i)));
  }
  return all;
}

/// Tokens that each block's attention sees, special ones included; blocks that are gone are not
/// there.
std::map<int64_t, int64_t> lengths_of(Network& network) {
  std::map<int64_t, int64_t> lengths;
  const Graph graph(network);
  for (const Graph::Node& node : graph.nodes()) {
    const std::string module = Graph::module_of(node);
    if (node.op.name != "attention" || !module.starts_with("blocks.")) continue;
    lengths[std::stoll(module.substr(7))] = graph.value(node.output).shape[1];
  }
  return lengths;
}

class Tome final : public Method {
 public:
  explicit Tome(Recipe& r)
      : r_(r.integers("r", {8}, at_least(0),
                      "tokens that go in each block; a list names them block by block")),
        inflection_(r.real("inflection", 0, in(-1, 1),
                           "-1: r falls to 0 over the blocks, 0: constant, 1: rises from 0")),
        is_proportional_(r.flag("prop_attn", true,
                                "whether attention weighs a token by the patches it stands for")),
        match_every_(r.integer("match_every", 1, at_least(1),
                               "merge in every such block, from the first on")) {
    const std::vector<std::string> metrics{"key", "query", "value", "x"};
    const std::string metric =
        r.choice("metric", "key", metrics, "what two tokens are compared by; x: their values");
    metric_ = static_cast<TokenMetric>(std::find(metrics.begin(), metrics.end(), metric) -
                                       metrics.begin());
    if (r.choice("scorer", "similarity", {"similarity", "random"},
                 "what pairs tokens; random is the control") == "random") {
      if (r.has("metric")) r.fail("metric", "has no effect with scorer random");
      metric_ = TokenMetric::kRandom;
    }
    if (r_.empty()) r.fail("r", "expected at least one number");
    if (r_.size() > 1 && r.has("inflection"))
      r.fail("inflection", "has no effect beside a list of r");
    if (r_.size() > 1 && r.has("match_every"))
      r.fail("match_every", "has no effect beside a list of r");
    where_ = r.where("r");
    address_ = r.address();
  }

  void attach(Run& run) override {
    plan(run.net());
    for (const PartRecord& part : run.net().architecture().parts) {
      if (part.kind == "tome_merge")
        throw RecipeError(str("tome: ", part.place, " has a part of an earlier phase, ", part.kind,
                              ", already; only one can stand there"));
    }
    for (const int64_t block : blocks_) {
      const auto found = std::find_if(choices_.begin(), choices_.end(),
                                      [&](const MergeChoice& c) { return c.block == block; });
      // Every block is claimed: what another method hid here could not be merged.
      run.wrap_tokens(
          str("blocks.", block), Slot::kStructure,
          [](const Tokens& t, const InnerTokens& inner, const Pass&) { return inner(t); });
      if (found == choices_.end()) continue;
      run.wrap_tokens(
          str("blocks.", block, ".after_attention"), Slot::kStructure,
          [choice = *found](const Tokens& t, const InnerTokens& inner, const Pass& pass) {
            return inner(merged(t, choice, pass));
          });
    }
  }

  void finish(Run& run) override {
    Edit edit = run.edit();
    for (const MergeChoice& choice : choices_)
      edit.replace(str("blocks.", choice.block, ".after_attention.in"),
                   std::make_shared<MergeTokens>(choice));
    edit.apply();
    run.report("tokens", table_);
  }

 private:
  /// r of every block that merges, from the sizes of the network as it is now.
  void plan(Network& net) {
    const auto refuse = [this](const std::string& why) {
      throw RecipeError(str(where_, ": ", address_, ": ", why));
    };
    if (!net.has_module("blocks.0") || !net.has_module("norm")) {
      refuse(str("expected a vision transformer, got ", net.architecture().model,
                 ", which has no blocks of tokens"));
    }
    const std::map<int64_t, int64_t> lengths = lengths_of(net);
    if (r_.size() > lengths.size())
      refuse(
          str("r: expected at most ", lengths.size(), " numbers, one per block, got ", r_.size()));
    int64_t special = 1;
    for (const Parameter& p : net.parameters()) special += p.path() == "dist_token" ? 1 : 0;
    for (const auto& [block, length] : lengths) blocks_.push_back(block);
    const std::vector<int64_t> wanted = r_of_blocks();

    int64_t now = lengths.begin()->second;
    int64_t before = now;  // in the network without merging
    table_ = std::to_string(now);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const int64_t length = lengths.at(blocks_[i]);
      if (length < before) {  // a part of an earlier phase keeps so many
        if (length > now)
          refuse(str("r: block ", blocks_[i], " keeps ", length - special,
                     " patch tokens, and only ", now - special, " are left in front of it"));
        now = length;
      }
      before = length;
      const int64_t patches = now - special, r = std::min(wanted[i], patches / 2);
      if (wanted[i] > 0 && wanted[i] >= patches)
        refuse(
            str("r: ", wanted[i], " would leave no token of ", patches, " in block ", blocks_[i]));
      if (r > 0)
        choices_.push_back(
            {.r = r, .block = blocks_[i], .metric = metric_, .is_proportional = is_proportional_});
      now -= r;
      table_ += str(i == 0 ? " -> " : " ", now);
    }
    table_ += ", behind the attention of each block";
  }

  std::vector<int64_t> r_of_blocks() const {
    const size_t count = blocks_.size();
    std::vector<int64_t> all(count, 0);
    if (r_.size() > 1) {
      std::copy(r_.begin(), r_.end(), all.begin());
      return all;
    }
    const auto step = static_cast<size_t>(match_every_);
    const std::vector<int64_t> some =
        schedule_of(r_.front(), inflection_, static_cast<int64_t>((count + step - 1) / step));
    for (size_t i = 0; i < some.size(); ++i) all[i * step] = some[i];
    return all;
  }

  std::vector<int64_t> r_;
  double inflection_;
  bool is_proportional_;
  int64_t match_every_;
  TokenMetric metric_ = TokenMetric::kKey;
  std::string where_, address_;  // of the recipe section, for errors

  std::vector<int64_t> blocks_;       // that exist
  std::vector<MergeChoice> choices_;  // of those that merge
  std::string table_;
};

const Registered<Tome> registered("tome", "arXiv:2210.09461",
                                  "similar tokens are merged in every block",
                                  ResultKind::kDenseSmaller);
const RegisteredModule<MergeTokens> registered_part("tome_merge");

}  // namespace
}  // namespace vtrain
