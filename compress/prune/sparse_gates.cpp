// Training sparse networks. Srinivas, Subramanya, Babu, "Training Sparse Neural Networks", CVPR
// Workshops 2017, arXiv:1611.06694.
//
//   forward uses W Z,  Z ~ Bernoulli(G), one draw a step      G in [0, 1], a gate for each weight
//   loss = task + lambda1 sum g (1 - g) + lambda2 sum g
//   dL/dW = d Z,  dL/dG = d W through the draw, straight      d = dL/d(W Z)
//   gone where g < threshold
//
// Each weight learns how likely it is kept. lambda1 drives gates to 0 or 1, lambda2 to 0; a gate
// with no gradient of the task rises from (1 + lambda2 / lambda1) / 2 on. Evaluation rounds gates,
// which is the likeliest draw. A gate at 0 still has a gradient and can come back.
//
// The straight-through gradient of gates is exact where the loss is linear in the weights, and
// biased elsewhere. draw none is the control without noise: W G, with its own gradient. Penalties
// are sums against a mean loss, so that all gates of a large network may fall together, and how
// much goes is steep in lambda2: the report says how many are undecided. While training, batch
// norms measure sampled networks: they are measured again in the end. Removed weights leave zeros
// in a dense file; units that lose all inputs or all readers are cut.
#include <cmath>
#include <memory>

#include "autograd/arithmetic.h"
#include "compress/parts/batch_norm_statistics.h"
#include "compress/parts/sparsity_report.h"
#include "compress/parts/weight_companions.h"
#include "compress/registry.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

struct GatedLayer {
  Parameter weight, gates;
  Random draws;
};

/// w z, whose gradient passes the draw z on its way to the gates it was drawn from.
Variable gated(const Variable& w, const Variable& gates, const Tensor& z) {
  return Variable::from({.name = "gated_weight"}, multiply(w.value(), z), {w, gates},
                        [saved_w = Saved(w.value()), z](const Tensor& dy) {
                          return Grads{multiply(dy, z), multiply(dy, saved_w.get())};
                        });
}

/// Gates back into [0, 1], and no momentum that pushes one against the wall it stands at: it would
/// stay there long after its gradient has turned.
void clip_gates(Run& run, const GatedLayer& layer) {
  Tensor g = layer.gates.value();
  g.copy_from(clamp(g, 0, 1));
  const std::vector<Tensor> moments = run.moments(layer.gates);
  if (moments.empty()) return;
  Tensor m = moments.front();  // the mean of gradients; squares, if any, come behind it
  const Tensor at_top = at_least(g, 1), at_bottom = at_least(negate(g), 0);
  m.copy_from(subtract(add(m, multiply(at_top, relu(negate(m)))), multiply(at_bottom, relu(m))));
}

class SparseGates final : public Method {
 public:
  explicit SparseGates(Recipe& r)
      : choice_(read_weight_choice(r)),
        lambda2_(r.real("lambda2", 5e-5, at_least(0), "what an open gate costs")),
        lambda1_(r.maybe_real("lambda1", at_least(0),
                              "what an undecided gate costs; half of lambda2 if it is not given")
                     .value_or(lambda2_ / 2)),
        gate_init_(r.real("gate_init", 1, in_open_low(0, 1),
                          "where gates start; 1 for a trained network, 0.5 for a fresh one")),
        gate_lr_mult_(r.real("gate_lr_mult", 100, at_least(0), "learning rate of gates, relative")),
        threshold_(r.real("threshold", 0.5, in(0, 1), "below it a gate is closed in the end")),
        draws_(r.choice("draw", "per_step", {"per_step", "none"},
                        "none: weights are multiplied by their gates, the control") == "per_step"),
        bn_images_(r.integer("bn_images", 1024, at_least(0),
                             "training images on which batch norms are measured in the end")) {
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void attach(Run& run) override {
    weights_ = prunable_weights(run.net(), choice_, key_);
    const auto gates = add_weight_companions(run, "gates", parameters_of(weights_), gate_init_);
    for (size_t i = 0; i < weights_.size(); ++i)
      layers_.push_back({.weight = weights_[i].weight,
                         .gates = (*gates)[i],
                         .draws = run.random("draw." + weights_[i].layer)});
    run.add_group({.name = "gates",
                   .parameters = gates->parameters(),
                   .lr_scale = gate_lr_mult_,
                   .weight_decay = 0});
    for (const GatedLayer& layer : layers_)
      run.transform_weight(
          layer.weight, Slot::kMask,
          [this, layer](const Variable& w, const Pass& pass) { return seen(layer, w, pass); });
  }

  void loss(Step& step) override {
    const Pass& pass = step.pass();
    Variable penalty(zeros({}, DType::f32, step.run().net().device()));
    for (const GatedLayer& layer : layers_) {
      const Variable g = layer.gates.raw(pass);
      penalty = penalty + lambda1_ * sum(g - square(g)) + lambda2_ * sum(g);
    }
    step.add_loss("gates", penalty);
  }

  void after_update(Step& step) override {
    for (const GatedLayer& layer : layers_) clip_gates(step.run(), layer);
    if (!step.ends_epoch()) return;
    const Shares shares = shares_of_gates();
    step.run().log("mean_gate", shares.mean);
    step.run().log("undecided_percent", 100 * shares.undecided);
    step.run().log("zeros_percent", 100 * shares.closed);
  }

  void finish(Run& run) override {
    const Shares shares = shares_of_gates();
    for (GatedLayer& layer : layers_)
      layer.weight.set(multiply(layer.weight.value(), at_least(layer.gates.value(), threshold_)));
    report_sparsity(run, weights_);
    run.report("gates", str(percent(shares.undecided), " % between 0.05 and 0.95; ",
                            percent(1 - shares.mean), " % closed in a mean draw"));
    const int64_t norms = remeasure_batch_norms(run, bn_images_);
    if (bn_images_ > 0 && norms > 0)
      run.report("batch norms", str(norms, " measured again with rounded gates"));
    report_dead_units(run, remove_dead_units(run));
  }

 private:
  /// Of all gates.
  struct Shares {
    double mean = 0, undecided = 0, closed = 0;
  };
  Shares shares_of_gates() const {
    Shares shares;
    double count = 0;
    for (const GatedLayer& layer : layers_) {
      for (const double g : layer.gates.value().to_vector()) {
        shares.mean += g;
        shares.undecided += g > 0.05 && g < 0.95 ? 1 : 0;
        shares.closed += g < threshold_ ? 1 : 0;
        ++count;
      }
    }
    return {shares.mean / count, shares.undecided / count, shares.closed / count};
  }
  static double percent(double share) {  // two digits
    return static_cast<double>(std::llround(10000 * share)) / 100;
  }

  /// The weight as a pass sees it: drawn, or in evaluation rounded.
  Variable seen(const GatedLayer& layer, const Variable& w, const Pass& pass) const {
    const Tensor& g = layer.gates.value();
    if (!pass.is_training) return w * Variable(at_least(g, threshold_));
    if (!draws_) return gated(w, layer.gates.raw(pass), g);
    // Rows of a weight are no samples: all micro-batches of a step share the draw.
    const Tensor u = layer.draws.uniform(g.shape(), {.step = pass.step, .first_sample = 0}, 0,
                                         DType::f32, g.device());
    return gated(w, layer.gates.raw(pass), at_least(subtract(g, u), 0));
  }

  WeightChoice choice_;
  double lambda2_, lambda1_, gate_init_, gate_lr_mult_, threshold_;
  bool draws_;
  int64_t bn_images_;
  std::string key_;  // the place of the recipe's section, for errors

  std::vector<PrunableWeight> weights_;
  std::vector<GatedLayer> layers_;  // of weights_
};

const Registered<SparseGates> registered("sparse_gates", "arXiv:1611.06694",
                                         "every weight has a gate that learns whether it stays",
                                         ResultKind::kFileOnly);

}  // namespace
}  // namespace vtrain
