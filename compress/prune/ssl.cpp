// Structured sparsity learning. Wen, Wu, Wang, Chen, Li, "Learning Structured Sparsity in Deep
// Neural Networks", NIPS 2016, arXiv:1608.03665.
//
//   loss + lambda_filters  sum_j ||W_l[j, :, :, :]||_2      over the filters of a layer
//        + lambda_channels sum_c ||W_l+1[:, c, :, :]||_2    over the channels of the next
//
// until the share `until` of the phase is over; then filters of zeros, and those that nobody reads
// any more, are cut, and the rest of the phase trains on without the penalty.
//
// solver proximal (ours): after each update w <- max(0, 1 - lr lambda / ||w||) w, which reaches
// zero exactly. solver subgradient is the authors': lambda w / ||w|| is added to the gradient and
// single weights below zero_eps are set to 0 after each update. A batch norm undoes the shrinking
// of the filter in front of it, and its shift outlives it: a filter's bias, scale and shift
// therefore belong to its group (with_norm; false is the paper). Where layers share channels
// (residual sums, `streams: coupled`) all their filters for one channel are one group. Shapes, rows
// and depth, the paper's other structures, are not built.
#include <algorithm>
#include <memory>
#include <set>

#include "compress/parts/dead_units.h"
#include "compress/parts/filter_groups.h"
#include "compress/parts/group_lasso.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

class Ssl final : public Method {
 public:
  explicit Ssl(Recipe& r)
      : lambda_filters_(r.real("lambda_filters", 0.003, at_least(0), "weight of filters' norms")),
        lambda_channels_(r.real("lambda_channels", 0.003, at_least(0),
                                "weight of the norms of what reads a filter")),
        is_proximal_(r.choice("solver", "proximal", {"proximal", "subgradient"},
                              "how the penalty moves weights") == "proximal"),
        zero_eps_(r.real("zero_eps", 1e-4, at_least(0),
                         "of solver subgradient: smaller weights become 0")),
        size_weight_(r.choice("size_weight", "none", {"none", "sqrt"},
                              "sqrt: a group's norm counts by the root of its size") == "sqrt"
                         ? LassoGroups::SizeWeight::kSqrt
                         : LassoGroups::SizeWeight::kNone),
        has_norm_(r.flag("with_norm", true, "whether bias and norm belong to a filter's group")),
        until_(r.real("until", 0.6, in_open_low(0, 1), "share of the phase with the penalty")),
        choice_(read_filter_choice(r)) {
    if (is_proximal_ && r.has("zero_eps"))
      r.fail("zero_eps", "has no effect with solver proximal, which reaches 0 by itself");
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override {
    archive("is_cut", is_cut_)("removed", removed_)("filters", filters_);
  }

  void attach(Run& run) override {
    require_filters(run.net(), choice_, key_);
    run.follow_cuts(
        [this](const Parameter&, int, const std::vector<int64_t>&) { is_stale_ = true; });
  }

  void start(Run& run) override {
    const CutGroups groups(run.net());
    for (const size_t g : filter_groups(run.net(), groups, choice_, key_))
      filters_ += groups.groups()[g].size();
  }

  void after_backward(Step& step) override {
    if (is_cut_) return;
    if (is_stale_) find_groups(step.run().net());
    if (is_proximal_) return;
    for (const LassoGroups& groups : lasso_) groups.add_gradient();
  }

  void after_update(Step& step) override {
    if (is_cut_) return;
    for (const LassoGroups& groups : lasso_) {
      if (is_proximal_) {
        groups.shrink(step.lr());
      } else {
        groups.zero_small(zero_eps_);
      }
    }
    if (!step.ends_epoch()) return;
    int64_t zeros = 0;
    double penalty = 0;
    for (const LassoGroups& groups : lasso_) {
      const std::vector<double> norms = groups.norms();
      zeros += std::count(norms.begin(), norms.end(), 0.0);
      penalty += groups.penalty();
    }
    step.run().log("zero_groups", static_cast<double>(zeros));
    step.run().log("penalty", penalty);
    const double done = static_cast<double>(step.pass().epoch + 1);
    // Not in finish, where a moving average may stand, which is never 0.
    if (done >= until_ * static_cast<double>(step.run().epochs()) - 1e-9) cut(step.run());
  }

  bool is_settled() const override { return is_cut_; }

  void finish(Run& run) override {
    cut(run);
    run.report("filters", str(removed_, " of ", filters_, " cut"));
    if (kept_ > 0)
      run.report("zero filters",
                 str(kept_, " stay: a constant behind padding; with_norm has none"));
  }

 private:
  void cut(Run& run) {
    const RemovedUnits units = remove_dead_units(run);
    removed_ += units.removed;
    kept_ = units.kept;
    is_cut_ = true;
    lasso_.clear();
  }

  /// The groups of the network as it is now.
  void find_groups(Network& network) {
    is_stale_ = false;
    lasso_.clear();
    std::set<std::string> trained;
    for (const Parameter& p : network.parameters()) {
      if (!p.is_buffer()) trained.insert(p.path());
    }
    const CutGroups groups(network);
    for (const size_t g : filter_groups(network, groups, choice_, key_)) {
      const CutGroup& group = groups.groups()[g];
      std::vector<LassoGroups::Member> makers, readers;
      for (size_t p = 0; p < group.places.size(); ++p) {
        const CutGroup::Place& place = group.places[p];
        if (!trained.contains(place.parameter)) continue;
        LassoGroups::Member member{network.parameter(place.parameter), place.axis, {}};
        for (const auto& channel : group.indices) member.indices.push_back(channel[p]);
        const bool is_weight = member.parameter.value().ndim() > 1;
        if (place.axis == 0 && (is_weight || has_norm_))
          makers.push_back(std::move(member));
        else if (place.axis == 1)
          readers.push_back(std::move(member));
      }
      if (lambda_filters_ > 0) lasso_.emplace_back(makers, lambda_filters_, size_weight_);
      if (lambda_channels_ > 0) lasso_.emplace_back(readers, lambda_channels_, size_weight_);
    }
  }

  double lambda_filters_, lambda_channels_;
  bool is_proximal_;
  double zero_eps_;
  LassoGroups::SizeWeight size_weight_;
  bool has_norm_;
  double until_;
  FilterChoice choice_;
  std::string key_;  // the place of the recipe's section, for errors

  std::vector<LassoGroups> lasso_;
  bool is_stale_ = true;  // lasso_ is of another structure
  bool is_cut_ = false;   // the penalty is over
  int64_t removed_ = 0, filters_ = 0, kept_ = 0;
};

const Registered<Ssl> registered("ssl", "arXiv:1608.03665",
                                 "group lasso drives filters to zero, which are then cut",
                                 ResultKind::kDenseSmaller);

}  // namespace
}  // namespace vtrain
