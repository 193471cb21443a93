// DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification.
// Rao, Zhao, Liu, Lu, Zhou, Hsieh, NeurIPS 2021, arXiv:2106.02034.
//
// A small predictor before some blocks decides for each image which patch tokens stay. In training,
// decisions are masks on the keys of attention, so that gradients reach the predictors; at the end
// the kept tokens are gathered, so that fewer are computed.
//
// Stage s, patch tokens x (N, P, C), mask m (N, P) of the stage before, P patches:
//   z      = gelu(linear(norm(x)))                         (N, P, C)
//   local  = z[..., :C/2]     global = sum_p z[..., C/2:] m / sum_p m
//   pi     = log_softmax(mlp([local, global]))             (N, P, 2), entry 0 keeps
//   train: m <- m * gumbel(pi)
//   eval:  keep the k_s = int(P rho^s) tokens of highest pi_0
// Loss, t the teacher, f the tokens behind the last norm:
//   L = l_cls CE + l_kl KL(p_t || p) + l_distill mean over kept tokens of (f - f_t)^2
//       + l_ratio mean_s mean_n (mean_p m_s - rho^s)^2
//
// Where we differ from the authors' code: the masked softmax has no epsilon and takes its maximum
// over kept keys (knobs mask_eps and mask_max bring theirs back); kept tokens keep their order; one
// logistic draw stands for two Gumbel draws; if an image would keep no token, its best one stays.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/losses.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "compress/parts/feature.h"
#include "compress/parts/gumbel.h"
#include "compress/parts/token_select.h"
#include "compress/registry.h"
#include "nn/layers/gelu.h"
#include "nn/layers/layer_norm.h"
#include "nn/layers/linear.h"
#include "nn/module_registry.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

/// Scores of keeping and dropping each patch token: 1.625 C^2 + 4.25 C + 2 parameters, named as in
/// the authors' files.
class Predictor final : public Module {
 public:
  explicit Predictor(int64_t dim)
      : dim_(dim),
        norm_(dim, 1e-5),
        in_(dim, dim),
        out0_(dim, dim / 2),
        out1_(dim / 2, dim / 4),
        out2_(dim / 4, 2) {
    add("in_conv.0", norm_);
    add("in_conv.1", in_);
    add("out_conv.0", out0_);
    add("out_conv.2", out1_);
    add("out_conv.4", out2_);
  }

  /// log pi (N, P, 2) of the patch tokens of t, whose mask (if any) weighs the global feature. Sums
  /// and log pi are f32 where the layers compute in bf16.
  Variable scores(const Tokens& t, const Pass& pass) {
    const Variable x = patch_tokens(t);
    const int64_t samples = x.dim(0), patches = x.dim(1), half = dim_ / 2;
    const Variable z = gelu(in_(norm_(x, pass), pass));
    const Variable local = slice(z, 2, 0, half), other = slice(z, 2, half, dim_);
    Variable global;
    if (t.mask.defined()) {
      const Variable m =
          reshape(slice(t.mask, 1, t.num_special, t.length()), {samples, patches, 1});
      global = sum(other * m, {1}, true) / sum(m, {1}, true);
    } else {
      global = mean(other, {1}, true);
    }
    const DType dtype = x.value().dtype();
    const Variable u = concat({local, expand(cast(global, dtype), {samples, patches, half})}, 2);
    const Variable scores = out2_(gelu(out1_(gelu(out0_(u, pass)), pass)), pass);
    return log_softmax(cast(scores, wide_of(dtype)), 2);
  }

 private:
  int64_t dim_;
  LayerNorm norm_;
  Linear in_, out0_, out1_, out2_;
};

/// The inference form of one stage: the k patch tokens that the predictor scores highest, gathered.
/// Without a predictor the choice is random, keyed by sample and stage: the control that a learned
/// choice must beat.
Tokens keep_best(const Tokens& t, Predictor* predictor, int64_t k, int64_t stage,
                 const Pass& pass) {
  const int64_t samples = t.x.dim(0), patches = t.length() - t.num_special;
  if (k == patches) return t;  // keeping all is the identity, bit for bit
  if (predictor != nullptr) return keep_top(t, select(predictor->scores(t, pass), 2, 0), k);
  const Random noise(0, "", "dynamicvit.random");
  return keep_top(
      t,
      Variable(noise.uniform({samples, patches}, {0, pass.first_sample}, static_cast<int>(stage),
                             DType::f32, t.x.value().device())),
      k);
}

/// What finish() leaves in front of a block.
class KeepTop final : public Module {
 public:
  KeepTop(std::shared_ptr<Predictor> predictor, int64_t k, int64_t stage, int64_t dim)
      : predictor_(std::move(predictor)), k_(k), stage_(stage), dim_(dim) {
    if (predictor_) add("predictor", *predictor_);
  }
  explicit KeepTop(const Attributes& a)
      : KeepTop(a.at("random") != 0
                    ? nullptr
                    : std::make_shared<Predictor>(static_cast<int64_t>(a.at("dim"))),
                static_cast<int64_t>(a.at("k")), static_cast<int64_t>(a.at("stage")),
                static_cast<int64_t>(a.at("dim"))) {}

  Tokens forward_tokens(const Tokens& t, const Pass& pass) override {
    return keep_best(t, predictor_.get(), k_, stage_, pass);
  }

  std::string kind() const override { return "dynamicvit_keep_top"; }
  Attributes attributes() const override {
    return {{"k", static_cast<double>(k_)},
            {"stage", static_cast<double>(stage_)},
            {"dim", static_cast<double>(dim_)},
            {"random", predictor_ ? 0 : 1}};
  }

 private:
  std::shared_ptr<Predictor> predictor_;
  int64_t k_, stage_, dim_;
};

/// Mean over kept tokens and channels of (f - f_t)^2; f (N, P, C), kept (N, P) of 0 and 1, without
/// gradient.
Variable token_distance(const Variable& f, const Tensor& f_t, const Tensor& kept) {
  const Tensor weight = multiply(kept, 1.0 / (sum(kept).item() * static_cast<double>(f.dim(2))));
  return sum(square(f - Variable(f_t)) * Variable(weight.reshape({f.dim(0), f.dim(1), 1})));
}

/// Ones at the best-scored token still there, for samples where `kept` (N, P) has none. Forward
/// only.
Tensor rescue(const Tensor& kept, const Tensor& before, const Tensor& score) {
  const std::vector<double> left = sum(kept, {1}).to_vector();
  Tensor one = zeros_like(kept);
  for (size_t n = 0; n < left.size(); ++n) {
    if (left[n] > 0) continue;
    const auto row = static_cast<int64_t>(n);
    const std::vector<double> there = before.select(0, row).to_vector(),
                              scores = score.select(0, row).to_vector();
    int64_t best = -1;
    for (size_t p = 0; p < there.size(); ++p) {
      if (there[p] > 0 && (best < 0 || scores[p] > scores[static_cast<size_t>(best)]))
        best = static_cast<int64_t>(p);
    }
    one.select(0, row).slice(0, best, best + 1).fill(1);
  }
  return one;
}

class DynamicVit final : public Method {
 public:
  explicit DynamicVit(Recipe& r)
      : at_(r.integers("at", {3, 6, 9}, at_least(0),
                       "blocks in front of which tokens are dropped")),
        keep_ratio_(r.real("keep_ratio", 0.7, in_open_low(0, 1),
                           "share of the patch tokens that each stage keeps")),
        counts_(r.integers("counts", {}, at_least(1),
                           "tokens left after each stage, in place of keep_ratio")),
        scorer_is_random_(r.choice("scorer", "predictor", {"predictor", "random"},
                                   "what decides; random is the control") == "random"),
        teacher_(r.text("teacher", "self",
                        "a phase, a file, or self: the weights this phase began with")),
        lambda_cls_(r.real("lambda_cls", 1, at_least(0), "weight of the task loss")),
        lambda_kl_(r.real("lambda_kl", 0.5, at_least(0),
                          "weight of the divergence from the teacher's classes")),
        lambda_distill_(r.real("lambda_distill", 0.5, at_least(0),
                               "weight of the distance from the teacher's tokens")),
        lambda_ratio_(r.real("lambda_ratio", 2, at_least(0),
                             "weight of the distance from the wanted keep ratio")),
        tau_(r.real("tau", 1, above(0), "temperature of the Gumbel decisions")),
        backbone_lr_scale_(r.real("backbone_lr_scale", 0.01, at_least(0),
                                  "learning rate of the trained network, relative")),
        freeze_epochs_(
            r.real("freeze_epochs", 5, at_least(0), "epochs in which only the predictors learn")),
        mask_eps_(r.real("mask_eps", 0, at_least(0),
                         "added in the masked softmax; the authors' code has 1e-6")),
        mask_max_is_all_(r.choice("mask_max", "kept", {"kept", "all"},
                                  "keys over which the softmax takes its maximum") == "all") {
    for (size_t s = 0; s < at_.size(); ++s) {
      if (s > 0 && at_[s] <= at_[s - 1]) r.fail("at", "expected increasing block numbers");
    }
    if (at_.empty()) r.fail("at", "expected at least one block number");
    if (!counts_.empty() && counts_.size() != at_.size()) {
      r.fail("counts",
             str("expected one count per entry of at (", at_.size(), "), got ", counts_.size()));
    }
    where_ = r.where("at");
    address_ = r.address();
  }

  void attach(Run& run) override {
    read_structure(run.net());
    if (lambda_kl_ > 0 || lambda_distill_ > 0) teach_ = &run.teacher(teacher_);
    if (lambda_distill_ > 0) {
      tokens_ = run.tap("norm.out");
      teach_->watch("norm.out");
    }
    ParameterGroup predictors{.name = "predictors", .parameters = {}};
    for (size_t s = 0; s < at_.size(); ++s) {
      if (!scorer_is_random_) {
        predictors_.push_back(std::make_shared<Predictor>(dim_));
        run.add_module(str("predictor", s), predictors_[s]);
        for (const Parameter& p : predictors_[s]->parameters()) predictors.parameters.push_back(p);
      }
      noise_.push_back(run.random(str("gumbel.", s)));
      run.wrap_tokens(block(s), Slot::kStructure,
                      [this, s](const Tokens& t, const InnerTokens& inner, const Pass& pass) {
                        return inner(pass.is_training ? masked(t, s, pass)
                                                      : keep_best(t, predictor(s), counts_[s],
                                                                  static_cast<int64_t>(s), pass));
                      });
    }
    ParameterGroup backbone{.name = "backbone", .parameters = {}, .lr_scale = backbone_lr_scale_};
    for (const Parameter& p : run.net().parameters()) {
      if (p.path() != "cls_token" && p.path() != "pos_embed") backbone.parameters.push_back(p);
    }
    backbone_ = run.add_group(std::move(backbone));
    if (!scorer_is_random_) run.add_group(std::move(predictors));
    run.freeze("cls_token");
    run.freeze("pos_embed");
  }

  void before_forward(Run&, const Pass& pass) override {
    decisions_.clear();
    if (pass.is_training) backbone_.freeze(static_cast<double>(pass.epoch) < freeze_epochs_);
  }

  void loss(Step& step) override {
    if (lambda_cls_ != 1) step.set_task(lambda_cls_ * step.task());
    if (lambda_kl_ > 0)
      step.add_loss("kl", lambda_kl_ * mean(kl_divergence(teach_->logits(), step.logits())));
    if (lambda_distill_ > 0) {
      const int64_t length = tokens_.value().dim(1);
      const Tensor f_t = teach_->value("norm.out").slice(1, num_special_, length);
      step.add_loss("distill", lambda_distill_ *
                                   token_distance(slice(tokens_.value(), 1, num_special_, length),
                                                  f_t, decisions_.back().value()));
    }
    if (lambda_ratio_ > 0) {
      Variable total;
      for (size_t s = 0; s < decisions_.size(); ++s) {
        const Variable off = mean(square(mean(decisions_[s], {1}) - target_ratio(s)));
        total = total.defined() ? total + off : off;
      }
      step.add_loss("ratio", (lambda_ratio_ / static_cast<double>(decisions_.size())) * total);
    }
  }

  void after_update(Step& step) override {
    for (size_t s = 0; s < decisions_.size(); ++s)
      step.run().log(str("keep", s + 1), mean(decisions_[s].value()).item());
  }

  void finish(Run& run) override {
    Edit edit = run.edit();
    std::string lengths = std::to_string(patches_);
    for (size_t s = 0; s < at_.size(); ++s) {
      edit.replace(block(s) + ".in",
                   std::make_shared<KeepTop>(scorer_is_random_ ? nullptr : predictors_[s],
                                             counts_[s], static_cast<int64_t>(s), dim_));
      lengths += str(" -> ", counts_[s], " before block ", at_[s]);
    }
    edit.apply();
    run.report("patch tokens", lengths);
  }

 private:
  std::string block(size_t s) const { return str("blocks.", at_[s]); }
  double target_ratio(size_t s) const {
    return ratio_is_given_ ? std::pow(keep_ratio_, static_cast<double>(s + 1))
                           : static_cast<double>(counts_[s]) / static_cast<double>(patches_);
  }

  /// Sizes from the network's own tensors; refuses what cannot work before the first batch.
  void read_structure(Network& net) {
    const auto refuse = [this](const std::string& why) {
      throw RecipeError(str(where_, ": ", address_, ": ", why));
    };
    if (!net.has_module("blocks.0") || !net.has_module("norm")) {
      refuse(str("expected a vision transformer, got ", net.architecture().model,
                 ", which has no blocks of tokens"));
    }
    for (size_t s = 0; s < at_.size(); ++s) {
      if (!net.has_module(block(s)))
        refuse(str("at: ", net.architecture().model, " has no block ", at_[s]));
    }
    const Parameter positions = net.parameter("pos_embed");
    dim_ = positions.value().dim(2);
    num_special_ = 1;
    patches_ = positions.value().dim(1) - num_special_;
    if (const int64_t left = feature_at(net, "norm").shape[1] - num_special_; left != patches_) {
      refuse(str("expected a network that keeps its ", patches_,
                 " patch tokens to the end, got one that has ", left, " behind its last block"));
    }
    ratio_is_given_ = counts_.empty();
    if (ratio_is_given_)
      counts_ = keep_counts(patches_, keep_ratio_, static_cast<int64_t>(at_.size()));
    for (size_t s = 0; s < counts_.size(); ++s) {
      const int64_t before = s == 0 ? patches_ : counts_[s - 1];
      if (counts_[s] < 1)
        refuse(str("keep_ratio ", keep_ratio_, " would leave no token of ", patches_, " at stage ",
                   s + 1));
      if (counts_[s] > before)
        refuse(
            str("counts: stage ", s + 1, " cannot keep ", counts_[s], " of ", before, " tokens"));
    }
  }

  Predictor* predictor(size_t s) const {
    return scorer_is_random_ ? nullptr : predictors_[s].get();
  }

  /// The training form of stage s: hides dropped tokens from the keys of all later attention.
  Tokens masked(const Tokens& t, size_t s, const Pass& pass) {
    const int64_t samples = t.x.dim(0), patches = t.length() - t.num_special;
    const Device device = t.x.value().device();
    const Tensor everything = ones({samples, patches}, wide_of(t.x.value().dtype()), device);
    const Variable before =
        t.mask.defined() ? slice(t.mask, 1, t.num_special, t.length()) : Variable(everything);
    Variable kept;
    if (scorer_is_random_) {
      // The same counts as at inference, chosen among what is left.
      const Tensor score =
          noise_[s].uniform({samples, patches}, pass.position(), 0, DType::f32, device);
      kept = Variable(top_mask(add(score, before.value()), counts_[s]));
    } else {
      const Variable pi = predictors_[s]->scores(t, pass);
      const Variable yes = select(pi, 2, 0);
      const Variable keep = gumbel_decision(
          yes, select(pi, 2, 1),
          noise_[s].logistic({samples, patches}, pass.position(), 0, DType::f32, device), tau_);
      const Variable both = keep * before;
      kept = both + Variable(rescue(both.value(), before.value(), yes.value()));
    }
    decisions_.push_back(kept);
    Tokens u = t;
    u.mask =
        concat({Variable(ones({samples, t.num_special}, everything.dtype(), device)), kept}, 1);
    u.mask_eps = mask_eps_;
    u.mask_max_over_all = mask_max_is_all_;
    return u;
  }

  std::vector<int64_t> at_;
  double keep_ratio_;
  std::vector<int64_t> counts_;
  bool scorer_is_random_;
  std::string teacher_;
  double lambda_cls_, lambda_kl_, lambda_distill_, lambda_ratio_, tau_, backbone_lr_scale_,
      freeze_epochs_, mask_eps_;
  bool mask_max_is_all_;
  std::string where_, address_;  // of the recipe section, for errors

  int64_t dim_ = 0, patches_ = 0, num_special_ = 0;
  bool ratio_is_given_ = true;
  std::vector<std::shared_ptr<Predictor>> predictors_;
  std::vector<Random> noise_;
  std::vector<Variable> decisions_;  // of this pass: (N, P) per stage
  Teacher* teach_ = nullptr;
  Tap tokens_;
  Group backbone_;
};

const Registered<DynamicVit> registered("dynamicvit", "arXiv:2106.02034",
                                        "small predictors drop patch tokens between blocks",
                                        ResultKind::kDenseSmaller);
const RegisteredModule<KeepTop> registered_part("dynamicvit_keep_top");

}  // namespace
}  // namespace vtrain
