// Vision Transformer Pruning. Zhu, Tang, Han, arXiv:2104.08500.
//
// Every feature in front of a linear layer gets a score a that multiplies it. Training with an l1
// penalty on the scores makes them sparse; then the features of least |a| are cut, and what is left
// trains on.
//
//   x^ = x diag(a)          loss + lambda sum |a|          cut where |a| <= tau
//   qkv_in, mlp_in: columns of qkv and of fc1, whose inputs a part selects behind the layer norm,
//     which still normalises over all: the width of the residual stream stays
//   head_out: channels of values, with the columns of proj
//   mlp_hidden: neurons, with the columns of fc2
//
// The penalty lasts sparse_epochs; the rest of the phase trains with what goes held at 0, and the
// end cuts it, so that a moving average is cut and folded as one network. Queries and keys stay.
//
// Where we differ from the paper: scores are compared by size, since they may turn negative; those
// of kept features are multiplied into the columns that read them (fold; false sets them to 1, as
// the paper does). Heads of a block keep equally many channels, each its own best ones, so that one
// kernel computes them: what goes is the k-th best channel of all heads at once, by their mean.
// Scores in front of queries, keys and values stand behind the layer norm.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/shape.h"
#include "compress/parts/budget.h"
#include "compress/parts/path_glob.h"
#include "compress/registry.h"
#include "nn/layers/select_channels.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

/// A place for scores in a block: the linear layer whose inputs they multiply.
struct GatePlace {
  const char* name;
  const char* layer;
  bool is_selected;  // its inputs come from the residual stream, of which a part selects
};
constexpr std::array<GatePlace, 4> kGatePlaces = {{{"qkv_in", "attn.qkv", true},
                                                   {"head_out", "attn.proj", false},
                                                   {"mlp_in", "mlp.fc1", true},
                                                   {"mlp_hidden", "mlp.fc2", false}}};

/// Scores a of a layer's inputs, and a mask of 0 and 1 once it is decided what goes.
struct FeatureGate {
  std::string block, layer;  // "blocks.0", "blocks.0.attn.qkv"
  const GatePlace* place = nullptr;
  Parameter score, mask;

  std::string weight() const { return layer + ".weight"; }
};

class FeatureGates final : public Module {
 public:
  FeatureGates(Network& network, std::vector<FeatureGate> gates) : gates_(std::move(gates)) {
    for (FeatureGate& gate : gates_) {
      const Shape size{network.parameter(gate.weight()).value().dim(1)};
      gate.score = add("score." + gate.layer, Parameter(size, Init::ones()));
      gate.mask = add("mask." + gate.layer, Parameter(size, Init::ones(), /*is_buffer=*/true));
    }
  }
  const std::vector<FeatureGate>& all() const { return gates_; }

 private:
  std::vector<FeatureGate> gates_;
};

void fill(Parameter parameter, const std::vector<double>& values) {
  parameter.set(from_values(parameter.value().shape(), values));
}

/// The channels of each head in descending order of `scores` (heads * dim), equal ones in theirs.
std::vector<int64_t> order_of_heads(const std::vector<double>& scores, int64_t heads) {
  const int64_t dim = static_cast<int64_t>(scores.size()) / heads;
  std::vector<int64_t> order(scores.size());
  for (int64_t h = 0; h < heads; ++h) {
    const auto begin = order.begin() + h * dim;
    std::iota(begin, begin + dim, 0);
    std::stable_sort(begin, begin + dim, [&](int64_t i, int64_t j) {
      return scores[static_cast<size_t>(h * dim + i)] > scores[static_cast<size_t>(h * dim + j)];
    });
  }
  return order;
}

/// |a| of every gate, 0 where the mask is.
std::vector<std::vector<double>> sizes_of(const FeatureGates& gates) {
  std::vector<std::vector<double>> all;
  for (const FeatureGate& gate : gates.all()) {
    std::vector<double> sizes = gate.score.value().to_vector();
    const std::vector<double> mask = gate.mask.value().to_vector();
    for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = std::abs(sizes[i]) * mask[i];
    all.push_back(std::move(sizes));
  }
  return all;
}

/// The places where a part must select before inputs of the layer can be cut on their own.
std::string part_place(const FeatureGate& gate) { return gate.layer + ".in"; }

const PartRecord* part_at(const Network& network, const std::string& place) {
  const auto& parts = network.architecture().parts;
  const auto found = std::find_if(parts.begin(), parts.end(),
                                  [&](const PartRecord& p) { return p.place == place; });
  return found == parts.end() ? nullptr : &*found;
}

/// What can be cut once every gate's inputs are free, and which groups those are. `sizes` say which
/// channels of a head go together; the network must have its parts.
struct GateGroups {
  /// Throws Error if the inputs of a gate's layer cannot be cut.
  GateGroups(Network& network, const std::vector<FeatureGate>& gates,
             const std::vector<std::vector<double>>& sizes)
      : groups(network, GroupedCut::kAligned, orders(network, gates, sizes)) {
    for (const FeatureGate& gate : gates) found.push_back(find(gate));
  }

  struct At {
    size_t group, place;
  };
  /// The gate's features that channel c of its group is.
  const std::vector<int64_t>& features(size_t gate, int64_t c) const {
    return groups.groups()[found[gate].group].indices[static_cast<size_t>(c)][found[gate].place];
  }
  int64_t size(size_t gate) const { return groups.groups()[found[gate].group].size(); }

  CutGroups groups;
  std::vector<At> found;  // by gate

 private:
  At find(const FeatureGate& gate) const {
    for (size_t g = 0; g < groups.groups().size(); ++g) {
      const auto& places = groups.groups()[g].places;
      for (size_t p = 0; p < places.size(); ++p) {
        if (places[p].parameter == gate.weight() && places[p].axis == 1) return {g, p};
      }
    }
    throw Error(str("vtp: the inputs of ", gate.layer, " cannot be cut"));
  }

  static HeadOrders orders(Network& network, const std::vector<FeatureGate>& gates,
                           const std::vector<std::vector<double>>& sizes) {
    HeadOrders orders;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const FeatureGate& gate = gates[i];
      if (std::string(gate.place->name) != "head_out") continue;
      const std::string attention = gate.block + ".attn";
      const double heads = network.module(attention).structure().at("num_heads");
      orders[attention] = order_of_heads(sizes[i], static_cast<int64_t>(heads));
    }
    return orders;
  }
};

class Vtp final : public Method {
 public:
  explicit Vtp(Recipe& r)
      : lambda_(r.real("lambda", 1e-4, at_least(0), "weight of the scores' l1 norm")),
        prune_rate_(r.real("prune_rate", 0.4, in(0, 1), "share of the features that go")),
        target_macs_(r.maybe_real("target_macs", in_open_low(0, 1),
                                  "share of the multiply-adds that stays, in place of prune_rate")),
        gate_init_(r.real("gate_init", 1, above(0), "scores at the start")),
        places_(r.texts("gates", {"qkv_in", "head_out", "mlp_in", "mlp_hidden"},
                        "where features are scored")),
        where_(r.texts("where", {"*"}, "blocks whose features may go, * stands for anything")),
        scope_(r.choice("scope", "global", {"global", "per_type", "per_layer"},
                        "among which features the least are found")),
        pick_(r.choice("pick", "scores", {"scores", "norm", "random"},
                       "which features go; norm: those whose columns are smallest; random: as many "
                       "as by scores; the controls")),
        is_proximal_(r.choice("l1", "gradient", {"gradient", "prox"},
                              "how the penalty moves scores; prox reaches 0 exactly") == "prox"),
        sparse_epochs_(r.integer("sparse_epochs", 1, at_least(1),
                                 "epochs with the penalty; the rest of the phase is fine-tuning")),
        gate_lr_scale_(
            r.real("gate_lr_scale", 1, at_least(0), "learning rate of the scores, relative")),
        is_folded_(r.flag("fold", true, "kept scores go into the weights; false: they become 1")) {
    settings_.min_keep =
        r.integer("min_keep", 1, at_least(1), "features that stay at each place, of each head");
    settings_.round_to =
        r.integer("round_to", 1, at_least(1), "kept counts are multiples of it, rounded up");
    if (r.has("target_macs") && r.has("prune_rate"))
      r.fail("prune_rate", "has no effect beside target_macs");
    if (prune_rate_ >= 1) r.fail("prune_rate", "expected below 1, which would leave nothing");
    if (target_macs_ && scope_ == "per_type")
      r.fail("scope", "per_type goes by prune_rate, not by target_macs");
    for (const std::string& name : places_) {
      if (std::none_of(kGatePlaces.begin(), kGatePlaces.end(),
                       [&](const GatePlace& p) { return name == p.name; }))
        r.fail("gates", str("expected some of qkv_in, head_out, mlp_in, mlp_hidden, got ", name));
    }
    if (places_.empty()) r.fail("gates", "expected at least one place");
    key_ = str(r.where("gates"), ": ", r.address());
  }

  void attach(Run& run) override {
    if (sparse_epochs_ > run.epochs())
      throw RecipeError(str(key_, ".sparse_epochs: expected at most the ", run.epochs(),
                            " epochs of the phase, got ", sparse_epochs_));
    gates_ = std::make_shared<FeatureGates>(run.net(), gates_of(run.net()));
    run.add_module("gates", gates_);
    ParameterGroup scores{
        .name = "scores", .parameters = {}, .lr_scale = gate_lr_scale_, .weight_decay = 0};
    for (const FeatureGate& gate : gates_->all()) {
      fill(gate.score,
           std::vector<double>(static_cast<size_t>(gate.score.value().numel()), gate_init_));
      scores.parameters.push_back(gate.score);
      run.transform_value(
          part_place(gate), Slot::kMask,
          [score = gate.score, mask = gate.mask](const Variable& x, const Pass& pass) {
            const Variable a = score.effective_full(pass), m = mask.effective_full(pass);
            return cast(x * (a * m), x.value().dtype());
          });
    }
    scores_ = run.add_group(std::move(scores));
  }

  void before_forward(Run&, const Pass& pass) override {
    if (pass.is_training) scores_.freeze(pass.epoch >= sparse_epochs_);
  }

  void after_backward(Step& step) override {
    if (is_proximal_ || step.pass().epoch >= sparse_epochs_) return;
    for (const FeatureGate& gate : gates_->all()) {
      if (!gate.score.grad().defined()) continue;
      std::vector<double> signs = gate.score.value().to_vector();
      for (double& a : signs) a = lambda_ * static_cast<double>((a > 0) - (a < 0));
      const Tensor& grad = gate.score.grad();
      gate.score.set_grad(add(grad, from_values(grad.shape(), signs, grad.dtype(), grad.device())));
    }
  }

  void after_update(Step& step) override {
    if (step.pass().epoch >= sparse_epochs_) return;
    if (is_proximal_) shrink(step.lr() * gate_lr_scale_ * lambda_);
    double norm = 0;
    for (const std::vector<double>& sizes : sizes_of(*gates_))
      norm += std::accumulate(sizes.begin(), sizes.end(), 0.0);
    step.run().log("l1", norm);
    if (step.ends_epoch() && step.pass().epoch + 1 == sparse_epochs_) choose(step.run());
  }

  void finish(Run& run) override {
    if (is_undecided()) choose(run);  // the best weights may be of an epoch before the choice
    fold(run.net());
    const std::vector<std::vector<double>> masks = sizes_of(*gates_);
    std::map<std::string, std::pair<int64_t, int64_t>> counts;  // by place: gone, all
    std::vector<FeatureGate> touched;
    std::vector<std::vector<double>> their_masks;
    Edit parts = run.edit();
    for (size_t i = 0; i < masks.size(); ++i) {
      const FeatureGate& gate = gates_->all()[i];
      const auto gone = std::count(masks[i].begin(), masks[i].end(), 0.0);
      counts[gate.place->name].first += gone;
      counts[gate.place->name].second += static_cast<int64_t>(masks[i].size());
      if (gone == 0) continue;
      touched.push_back(gate);
      their_masks.push_back(masks[i]);
      if (gate.place->is_selected && part_at(run.net(), part_place(gate)) == nullptr)
        parts.replace(part_place(gate),
                      std::make_shared<SelectChannels>(static_cast<int64_t>(masks[i].size())));
    }
    parts.apply();
    if (!touched.empty()) cut(run, touched, their_masks);
    std::string text;
    for (const auto& [place, count] : counts)
      text += str(text.empty() ? "" : ", ", place, ' ', count.first, " of ", count.second);
    run.report("features cut", text);
  }

 private:
  std::vector<FeatureGate> gates_of(Network& net) const {
    std::vector<std::string> blocks;
    for (int i = 0; net.has_module(str("blocks.", i)); ++i) {
      if (net.has_module(str("blocks.", i, ".attn.qkv"))) blocks.push_back(str("blocks.", i));
    }
    if (blocks.empty())
      throw RecipeError(str(key_, ": expected a vision transformer, got ", net.architecture().model,
                            ", which has no blocks of tokens"));
    const std::vector<char> wanted = matched_by(where_, blocks, key_ + ".where");
    std::vector<FeatureGate> gates;
    for (size_t b = 0; b < blocks.size(); ++b) {
      for (const GatePlace& place : kGatePlaces) {
        if (wanted[b] == 0 ||
            std::find(places_.begin(), places_.end(), place.name) == places_.end())
          continue;
        gates.push_back({.block = blocks[b],
                         .layer = str(blocks[b], ".", place.layer),
                         .place = &place,
                         .score = {},
                         .mask = {}});
        const PartRecord* const part = part_at(net, part_place(gates.back()));
        if (part != nullptr && part->kind != "select_channels")
          throw RecipeError(str(key_, ": ", part_place(gates.back()), " has a part of kind ",
                                part->kind, ": expected none, or one that selects channels"));
      }
    }
    return gates;
  }

  bool is_undecided() const {
    return std::all_of(gates_->all().begin(), gates_->all().end(), [](const FeatureGate& gate) {
      const std::vector<double> mask = gate.mask.value().to_vector();
      return std::all_of(mask.begin(), mask.end(), [](double m) { return m == 1; });
    });
  }

  void shrink(double by) const {
    for (const FeatureGate& gate : gates_->all()) {
      std::vector<double> a = gate.score.value().to_vector();
      for (double& x : a) x = std::copysign(std::max(std::abs(x) - by, 0.0), x);
      fill(gate.score, a);
    }
  }

  /// What features are compared by: |a|, or the norm of the column that reads them.
  std::vector<std::vector<double>> importance(Network& net) const {
    std::vector<std::vector<double>> all = sizes_of(*gates_);
    if (pick_ != "norm") return all;
    for (size_t i = 0; i < all.size(); ++i) {
      const Tensor weight = net.parameter(gates_->all()[i].weight()).value();
      all[i] = sqrt(sum(square(weight), {0})).to_vector();
    }
    return all;
  }

  /// As many channels of every group as `cut` has, drawn at random.
  static Cut at_random(const CutGroups& groups, const Cut& cut, const Random& random) {
    Cut result = groups.nothing();
    for (size_t g = 0; g < cut.size(); ++g) {
      if (cut[g].empty()) continue;
      const int64_t size = groups.groups()[g].size();
      const std::vector<double> noise =
          random.uniform(Shape{size}, RandomPosition{}, static_cast<int>(g)).to_vector();
      std::vector<int64_t>& own = result[g];
      own.resize(static_cast<size_t>(size));
      std::iota(own.begin(), own.end(), 0);
      std::ranges::sort(own, {}, [&](int64_t c) { return noise[static_cast<size_t>(c)]; });
      own.resize(cut[g].size());
      std::ranges::sort(own);
    }
    return result;
  }

  /// Masks become 0 at what goes.
  void choose(Run& run) const {
    const std::vector<std::vector<double>> sizes = importance(run.net());
    const std::unique_ptr<Network> open = run.net().clone();
    for (size_t i = 0; i < sizes.size(); ++i) {
      const FeatureGate& gate = gates_->all()[i];
      if (gate.place->is_selected && part_at(*open, part_place(gate)) == nullptr)
        open->set_part(part_place(gate),
                       std::make_shared<SelectChannels>(static_cast<int64_t>(sizes[i].size())));
    }
    const GateGroups groups(*open, gates_->all(), sizes);
    std::vector<std::vector<double>> scores(groups.groups.groups().size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<double>& own = scores[groups.found[i].group];
      for (int64_t c = 0; c < groups.size(i); ++c) {
        double sum = 0;
        for (const int64_t f : groups.features(i, c)) sum += sizes[i][static_cast<size_t>(f)];
        own.push_back(sum / static_cast<double>(groups.features(i, c).size()));
      }
    }
    Cut cut = least(groups, scores);
    if (pick_ == "random") cut = at_random(groups.groups, cut, run.random("pick"));
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<double> mask(sizes[i].size(), 1);
      for (const int64_t c : cut[groups.found[i].group]) {
        for (const int64_t f : groups.features(i, c)) mask[static_cast<size_t>(f)] = 0;
      }
      fill(gates_->all()[i].mask, mask);
    }
  }

  Cut least(const GateGroups& groups, const std::vector<std::vector<double>>& scores) const {
    if (target_macs_) {
      BudgetSettings settings = settings_;
      settings.mode = scope_ == "global" ? BudgetMode::kGlobal : BudgetMode::kUniform;
      return solve_budget(groups.groups, scores, {.macs = target_macs_}, settings);
    }
    Cut cut = groups.groups.nothing();
    std::map<std::string, std::vector<size_t>> together;  // gates by what they are compared with
    for (size_t i = 0; i < gates_->all().size(); ++i) {
      const FeatureGate& gate = gates_->all()[i];
      together[scope_ == "global"     ? ""
               : scope_ == "per_type" ? gate.place->name
                                      : gate.layer]
          .push_back(i);
    }
    for (const auto& [name, gates] : together) take_least(groups, scores, gates, cut);
    return cut;
  }

  /// Of the features of these gates the share prune_rate, those of least score first.
  void take_least(const GateGroups& groups, const std::vector<std::vector<double>>& scores,
                  const std::vector<size_t>& gates, Cut& cut) const {
    struct Unit {
      double score;
      size_t gate;
      int64_t channel, features;
    };
    std::vector<Unit> units;
    int64_t all = 0;
    for (const size_t i : gates) {
      for (int64_t c = 0; c < groups.size(i); ++c) {
        const auto features = static_cast<int64_t>(groups.features(i, c).size());
        units.push_back({scores[groups.found[i].group][static_cast<size_t>(c)], i, c, features});
        all += features;
      }
    }
    std::stable_sort(units.begin(), units.end(),
                     [](const Unit& a, const Unit& b) { return a.score < b.score; });
    auto left = static_cast<int64_t>(std::floor(prune_rate_ * static_cast<double>(all) + 1e-9));
    for (const Unit& unit : units) {
      std::vector<int64_t>& own = cut[groups.found[unit.gate].group];
      const int64_t kept = groups.size(unit.gate) - static_cast<int64_t>(own.size());
      if (unit.features > left || kept <= settings_.min_keep) continue;
      own.push_back(unit.channel);
      left -= unit.features;
    }
    for (const size_t i : gates) {  // the last to go come back first
      std::vector<int64_t>& own = cut[groups.found[i].group];
      const int64_t kept = groups.size(i) - static_cast<int64_t>(own.size()),
                    rounded = std::min(groups.size(i), (kept + settings_.round_to - 1) /
                                                           settings_.round_to * settings_.round_to);
      own.resize(static_cast<size_t>(groups.size(i) - rounded));
      std::sort(own.begin(), own.end());
    }
  }

  /// W[:, j] <- a_j m_j W[:, j], and a becomes 1.
  void fold(Network& net) const {
    for (const FeatureGate& gate : gates_->all()) {
      Tensor weight = net.parameter(gate.weight()).value();
      const Tensor kept =
          is_folded_ ? multiply(gate.score.value(), gate.mask.value()) : gate.mask.value();
      weight.copy_from(multiply(weight, kept));
      fill(gate.score, std::vector<double>(static_cast<size_t>(kept.numel()), 1));
    }
  }

  static void cut(Run& run, const std::vector<FeatureGate>& gates,
                  const std::vector<std::vector<double>>& masks) {
    const GateGroups groups(run.net(), gates, masks);
    Cut cut = groups.groups.nothing();
    for (size_t i = 0; i < gates.size(); ++i) {
      for (int64_t c = 0; c < groups.size(i); ++c) {
        if (masks[i][static_cast<size_t>(groups.features(i, c).front())] == 0)
          cut[groups.found[i].group].push_back(c);
      }
    }
    run.edit().cut(groups.groups, cut).apply();
  }

  double lambda_, prune_rate_;
  std::optional<double> target_macs_;
  double gate_init_;
  std::vector<std::string> places_, where_;
  std::string scope_, pick_;
  bool is_proximal_;
  int64_t sparse_epochs_;
  double gate_lr_scale_;
  bool is_folded_;
  BudgetSettings settings_;
  std::string key_;  // the place of the recipe's section, for errors

  std::shared_ptr<FeatureGates> gates_;
  Group scores_;
};

const Registered<Vtp> registered("vtp", "arXiv:2104.08500",
                                 "scores learn which inputs of a transformer's layers to cut",
                                 ResultKind::kDenseSmaller);

}  // namespace
}  // namespace vtrain
