// Soft filter pruning. He, Kang, Dong, Fu, Yang, "Soft Filter Pruning for Accelerating Deep
// Convolutional Neural Networks", IJCAI 2018, arXiv:1808.06866.
//
//   s_j = ||W[j, :, :, :]||_2     the floor(rate * O) filters of least s_j are set to 0, once
//
// at the end of every `prune_every` epochs and of the last. In between nothing is masked: gradients
// reach the zeros, and a filter may come back. Only what the last zeroing chose is cut, in the end
// and without further training.
//
// The authors' code zeroes at the start as well (at_start). In a network that starts from scratch
// that is for good: with a shift of 0 the filter's ReLU stays at 0 and passes no gradient back.
//
// A filter of zeros is not gone while its batch norm has a shift. Until the next training step
// evaluation therefore hides bias and norm of the chosen filters too, and the cut is exact
// (mask_bn, ours). The paper leaves them: mask_bn false moves the constants into the next layers,
// and says how far logits move where padding makes that inexact. The authors leave the momentum of
// zeroed filters as well: it then moves them to tiny weights, which a batch norm blows up;
// zero_momentum drops it. Channels of residual sums stay whole, or go coupled; the authors'
// index-add is not built.
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "compress/parts/budget.h"
#include "compress/parts/filter_groups.h"
#include "compress/parts/fold_constants.h"
#include "compress/parts/importance.h"
#include "compress/parts/mask.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

class Sfp final : public Method {
 public:
  explicit Sfp(Recipe& r)
      : rate_(r.real("rate", 0.3, in(0, 1), "share of each layer's filters that goes")),
        prune_every_(r.integer("prune_every", 1, at_least(1), "epochs between two zeroings")),
        zeroes_at_start_(r.flag("at_start", false, "whether the phase begins with a zeroing")),
        norm_(r.choice("norm", "l2", {"l1", "l2", "bn_folded"},
                       "of a filter; bn_folded: l2 times |gamma| / sqrt(variance + 1e-5)")),
        hides_norm_(r.flag("mask_bn", true, "whether bias and norm of zeroed filters go too")),
        zeroes_momentum_(
            r.flag("zero_momentum", false, "whether the optimizer forgets zeroed filters")),
        choice_(read_filter_choice(r)) {
    settings_.min_keep = r.integer("min_keep", 1, at_least(1), "filters that every layer keeps");
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void attach(Run& run) override {
    require_filters(run.net(), choice_, key_);
    const CutGroups groups(run.net());
    std::vector<Parameter> hidden;
    for (const std::string& path : hidden_parameters(run.net(), groups))
      hidden.push_back(run.net().parameter(path));
    masks_ = std::make_shared<WeightMasks>(hidden, WeightMasks::Form::kRows);
    WeightMasks::join(run, "masks", masks_);
    for (const WeightMasks::Entry& e : masks_->entries()) {
      const ValueFn hide = WeightMasks::transform(e, WeightMasks::Gradient::kHard);
      run.transform_weight(e.parameter, Slot::kMask, [hide](const Variable& v, const Pass& pass) {
        return pass.is_training ? v : hide(v, pass);
      });
    }
  }

  void start(Run& run) override {
    if (zeroes_at_start_ || run.epochs() == 0) zero(run);
  }

  void after_update(Step& step) override {
    if (!step.ends_epoch()) return;
    const int64_t epochs = step.pass().epoch + 1;
    if (epochs % prune_every_ != 0 && epochs != step.run().epochs()) return;
    const double overlap = zero(step.run());
    step.run().log("overlap", overlap);  // with the last list; 1: soft has become hard
  }

  void finish(Run& run) override {
    const CutGroups groups(run.net());
    const Cut cut = chosen(groups, filter_groups(run.net(), groups, choice_, key_));
    int64_t removed = 0, all = 0;
    for (const size_t g : filter_groups(run.net(), groups, choice_, key_)) {
      removed += static_cast<int64_t>(cut[g].size());
      all += groups.groups()[g].size();
    }
    if (!hides_norm_) fold(run, groups, cut);
    run.edit().cut(groups, cut).apply();
    run.report("filters", str(removed, " of ", all, " cut"));
  }

 private:
  /// What belongs to the filters: their weights, and with mask_bn the biases and norms. Buffers
  /// hold statistics and need no hiding.
  std::vector<std::string> hidden_parameters(Network& network, const CutGroups& groups) const {
    std::set<std::string> trained;
    for (const Parameter& p : network.parameters()) {
      if (!p.is_buffer()) trained.insert(p.path());
    }
    std::vector<std::string> paths;
    std::set<std::string> seen;
    for (const size_t g : filter_groups(network, groups, choice_, key_)) {
      for (const CutGroup::Place& place : groups.groups()[g].places) {
        const bool is_weight = network.parameter(place.parameter).value().ndim() > 1;
        if (place.axis != 0 || !trained.contains(place.parameter)) continue;
        if ((is_weight || hides_norm_) && seen.insert(place.parameter).second)
          paths.push_back(place.parameter);
      }
    }
    return paths;
  }

  /// |gamma| / sqrt(variance + eps) of the norm behind a group's channels; ones without one.
  static std::vector<double> norm_scale(Network& network, const CutGroup& group) {
    constexpr double kEps = 1e-5;
    std::vector<double> scale(static_cast<size_t>(group.size()), 1);
    for (size_t p = 0; p < group.places.size(); ++p) {
      const std::string& path = group.places[p].parameter;
      const size_t end = path.rfind(".running_var");
      if (end == std::string::npos) continue;
      const std::vector<double>
          variance = network.parameter(path).value().to_vector(),
          gamma = network.parameter(path.substr(0, end) + ".weight").value().to_vector();
      for (size_t c = 0; c < scale.size(); ++c) {
        const auto i = static_cast<size_t>(group.indices[c][p].front());
        scale[c] *= std::abs(gamma[i]) / std::sqrt(variance[i] + kEps);
      }
    }
    return scale;
  }

  std::vector<double> scores(Network& network, const CutGroup& group) const {
    std::vector<double> scores =
        row_norms(network, group, norm_ == "l1" ? WeightNorm::kL1 : WeightNorm::kL2);
    if (norm_ != "bn_folded") return scores;
    const std::vector<double> scale = norm_scale(network, group);
    for (size_t c = 0; c < scores.size(); ++c) scores[c] *= scale[c];
    return scores;
  }

  /// The channels that the masks hide.
  Cut chosen(const CutGroups& groups, const std::vector<size_t>& wanted) const {
    Cut cut = groups.nothing();
    for (const size_t g : wanted) {
      const CutGroup& group = groups.groups()[g];
      for (size_t p = 0; p < group.places.size() && cut[g].empty(); ++p) {
        const auto& entries = masks_->entries();
        const auto entry =
            std::find_if(entries.begin(), entries.end(), [&](const WeightMasks::Entry& e) {
              return group.places[p].axis == 0 && e.parameter.path() == group.places[p].parameter;
            });
        if (entry == entries.end()) continue;
        const std::vector<double> mask = entry->mask.value().to_vector();
        for (int64_t c = 0; c < group.size(); ++c) {
          const int64_t row = group.indices[static_cast<size_t>(c)][p].front();
          if (mask[static_cast<size_t>(row)] == 0) cut[g].push_back(c);
        }
      }
    }
    return cut;
  }

  void hide(const CutGroups& groups, const Cut& cut) const {
    for (const WeightMasks::Entry& e : masks_->entries()) {
      std::vector<char> kept(static_cast<size_t>(e.mask.value().numel()), 1);
      for (size_t g = 0; g < cut.size(); ++g) {
        const CutGroup& group = groups.groups()[g];
        for (size_t p = 0; p < group.places.size(); ++p) {
          if (group.places[p].axis != 0 || group.places[p].parameter != e.parameter.path())
            continue;
          for (const int64_t c : cut[g]) {
            for (const int64_t row : group.indices[static_cast<size_t>(c)][p])
              kept[static_cast<size_t>(row)] = 0;
          }
        }
      }
      set_mask(e, kept);
    }
  }

  /// Sets the filters of least norm to 0. The share of them that the last list held.
  double zero(Run& run) {
    const CutGroups groups(run.net());
    const std::vector<size_t> wanted = filter_groups(run.net(), groups, choice_, key_);
    std::vector<std::vector<double>> all(groups.groups().size());
    for (const size_t g : wanted) all[g] = scores(run.net(), groups.groups()[g]);
    const Cut cut = lowest_scores(groups, all, rate_, settings_), before = chosen(groups, wanted);
    int64_t count = 0, again = 0;
    for (size_t g = 0; g < cut.size(); ++g) {
      count += static_cast<int64_t>(cut[g].size());
      again += std::count_if(cut[g].begin(), cut[g].end(), [&](int64_t c) {
        return std::binary_search(before[g].begin(), before[g].end(), c);
      });
    }
    hide(groups, cut);
    zero_rows(run.net(), groups, cut);
    if (zeroes_momentum_) masks_->apply_to_moments(run);
    return count == 0 ? 1 : static_cast<double>(again) / static_cast<double>(count);
  }

  /// What zeroed filters still give, into what reads them.
  static void fold(Run& run, const CutGroups& groups, const Cut& cut) {
    Network& network = run.net();
    const ModelOptions& o = network.architecture().options;
    const Tensor images = run.random("fold")
                              .normal({4, o.channels, o.image_size, o.image_size}, {})
                              .to(network.device())
                              .channels_last();
    zero_rows(network, groups, cut);
    const Tensor literal = network.logits(images);
    const FoldedConstants folded = fold_constants(network, groups, cut);
    const std::unique_ptr<Network> compact = network.clone();
    compact->cut(groups.plan(cut));
    run.report("constants",
               str(folded.channels, " folded into the layers that read them, ",
                   folded.is_exact ? "exactly" : "not exactly: padding", "; logits move by ",
                   relative_difference(literal, compact->logits(images)), " on noise"));
  }

  double rate_;
  int64_t prune_every_;
  bool zeroes_at_start_;
  std::string norm_;
  bool hides_norm_, zeroes_momentum_;
  FilterChoice choice_;
  BudgetSettings settings_;
  std::string key_;  // the place of the recipe's section, for errors

  std::shared_ptr<WeightMasks> masks_;  // 0 at the rows that the last zeroing chose
};

const Registered<Sfp> registered("sfp", "arXiv:1808.06866",
                                 "filters of least norm are zeroed every epoch, and cut in the end",
                                 ResultKind::kDenseSmaller);

}  // namespace
}  // namespace vtrain
