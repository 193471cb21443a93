// Sparse variational dropout. Molchanov, Ashukha, Vetrov, "Variational Dropout Sparsifies Deep
// Neural Networks", ICML 2017, arXiv:1701.05369.
//
//   w ~ N(theta, sigma^2)            log alpha = log sigma^2 - log(theta^2 + 1e-8), of each weight
//   loss = mean cross entropy + ramp kl_weight / N sum KL(alpha)     N training images
//   gone where log alpha >= threshold
//
// Each weight learns how much noise it bears; the divergence from a log-uniform prior rewards noise
// (compress/parts/variational_noise.h), and what is mostly noise carries nothing. Instead of
// weights, a layer draws what it computes (local reparameterisation), for every value anew:
//
//   y = mean + sqrt(variance + var_floor) e,  e ~ N(0, 1)
//   mean = theta * x + bias,  variance = sigma^2 * x^2      *: the layer's convolution or product
//
// The ramp is 0 for kl_start epochs and grows to 1 in kl_ramp epochs. Evaluation has no noise, and
// only the weights that would stay. Weights and variances are not decayed: the prior takes that
// part.
//
// The gradients of variances are tiny: Adam (optim.name adamw) learns them, SGD hardly. Where we
// differ from the authors' code: it computes the variance from alpha clipped to +-8, here the clip
// bounds only the divergence, so that noise can vanish. While training, batch norms measure the
// noise too: they are measured again in the end. Removed weights leave zeros in a dense file; units
// that lose all inputs or all readers are cut.
#include <algorithm>
#include <limits>
#include <memory>

#include "autograd/arithmetic.h"
#include "autograd/conv2d.h"
#include "autograd/linear.h"
#include "autograd/shape.h"
#include "compress/parts/batch_norm_statistics.h"
#include "compress/parts/mask.h"
#include "compress/parts/sparsity_report.h"
#include "compress/parts/variational_noise.h"
#include "compress/parts/weight_companions.h"
#include "compress/registry.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/linear.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

struct NoisyLayer {
  Parameter theta, log_sigma2;
  const Conv2d* conv = nullptr;  // or a linear layer
  Random noise;
};

Tensor noise_level(const NoisyLayer& layer) {
  return log_alpha(Variable(layer.theta.value()), Variable(layer.log_sigma2.value())).value();
}

/// How far the divergence is switched on.
double ramp(double epoch, double start, double length) {
  if (epoch < start) return 0;
  return length > 0 ? std::min(1.0, (epoch - start) / length) : 1;
}

class SparseVd final : public Method {
 public:
  explicit SparseVd(Recipe& r)
      : choice_(read_weight_choice(r)),
        threshold_(r.real("threshold", 3, in(1, 8), "log alpha from which on a weight is gone")),
        log_sigma2_init_(r.real("log_sigma2_init", -10, in(-200, 0),
                                "log variance that all weights start with; from -100 on no noise "
                                "is left in f32")),
        kl_start_(r.real("kl_start", 5, at_least(0), "epochs without the divergence")),
        kl_ramp_(r.real("kl_ramp", 15, at_least(0), "epochs in which it comes in full")),
        kl_weight_(r.real("kl_weight", 1, in(0, 10), "of the divergence, as the paper has it 1")),
        clips_in_training_(r.flag("train_clip", false,
                                  "whether weights above the threshold are 0 in training too")),
        la_clip_(r.real("la_clip", 8, in(4, 20), "|log alpha| beyond which nothing is rewarded")),
        var_floor_(r.real("var_floor", 1e-8, in(0, 1e-6), "variance of every value at least")),
        bn_images_(r.integer("bn_images", 1024, at_least(0),
                             "training images on which batch norms are measured in the end")) {
    key_ = str(r.where("layers"), ": ", r.address());
    start_key_ = str(r.where("kl_start"), ": ", r.address(), ".kl_start");
  }

  void state(Archive& archive) override { archive("ramp", ramp_); }

  void attach(Run& run) override {
    epochs_ = static_cast<double>(run.epochs());
    if (kl_weight_ > 0 && kl_start_ >= epochs_)
      throw RecipeError(str(start_key_, ": expected less than the ", run.epochs(),
                            " epochs of phase ", run.phase(), ", got ", kl_start_,
                            ": the divergence would never act"));
    weights_ = prunable_weights(run.net(), choice_, key_);
    std::vector<Parameter> undecayed = parameters_of(weights_);
    const auto variances = add_weight_companions(run, "log_sigma2", undecayed, log_sigma2_init_);
    for (size_t i = 0; i < weights_.size(); ++i) {
      add_layer(run, weights_[i], (*variances)[i]);
      undecayed.push_back((*variances)[i]);
    }
    run.add_group({.name = "noisy", .parameters = undecayed, .weight_decay = 0});
  }

  void loss(Step& step) override {
    const Pass& pass = step.pass();
    Variable kl(zeros({}, DType::f32, run_device(step)));
    for (const NoisyLayer& layer : layers_)
      kl = kl +
           variational_kl(log_alpha(layer.theta.raw(pass), layer.log_sigma2.raw(pass)), la_clip_);
    ramp_ = ramp(pass.progress * epochs_, kl_start_, kl_ramp_);
    step.add_loss("kl", kl_weight_ * ramp_ / static_cast<double>(step.run().train_samples()) * kl);
  }

  void after_update(Step& step) override {
    if (!step.ends_epoch()) return;
    int64_t kept = 0, all = 0;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const NoisyLayer& layer : layers_) {
      kept += count_nonzero(kept_by(layer));
      all += layer.theta.value().numel();
      const std::vector<double> levels = noise_level(layer).to_vector();
      low = std::min(low, *std::ranges::min_element(levels));
      high = std::max(high, *std::ranges::max_element(levels));
    }
    step.run().log("zeros_percent",
                   100 * static_cast<double>(all - kept) / static_cast<double>(all));
    step.run().log("log_alpha_min", low);
    step.run().log("log_alpha_max", high);
  }

  bool is_settled() const override { return ramp_ == 1 || kl_weight_ == 0; }

  void finish(Run& run) override {
    for (NoisyLayer& layer : layers_)
      layer.theta.set(multiply(layer.theta.value(), kept_by(layer)));
    report_sparsity(run, weights_);
    const int64_t norms = remeasure_batch_norms(run, bn_images_);
    if (bn_images_ > 0 && norms > 0)
      run.report("batch norms", str(norms, " measured again without noise"));
    report_dead_units(run, remove_dead_units(run));
  }

 private:
  static Device run_device(Step& step) { return step.run().net().device(); }

  void add_layer(Run& run, const PrunableWeight& w, const Parameter& log_sigma2) {
    Module& module = run.net().module(w.layer);
    const auto* const conv = dynamic_cast<const Conv2d*>(&module);
    if (conv == nullptr && dynamic_cast<const Linear*>(&module) == nullptr)
      throw RecipeError(str(key_, ".layers: ", w.layer,
                            ": expected a convolution or a linear layer, whose values can be "
                            "given noise; leave it out with skip"));
    const NoisyLayer layer{.theta = w.weight,
                           .log_sigma2 = log_sigma2,
                           .conv = conv,
                           .noise = run.random(str("noise.", w.layer))};
    run.transform_weight(w.weight, Slot::kMask,
                         [this, layer](const Variable& theta, const Pass& pass) {
                           if (pass.is_training && !clips_in_training_) return theta;
                           return theta * Variable(kept_by(layer));
                         });
    run.wrap(w.layer, Slot::kCompute,
             [this, layer](const Variable& x, const Inner& inner, const Pass& pass) {
               const Variable mean = inner(x);
               return pass.is_training ? noisy(layer, x, mean, pass) : mean;
             });
    layers_.push_back(layer);
  }

  /// Squares and variances in f32, whatever the layer computes in: bf16 would lose them.
  Variable noisy(const NoisyLayer& layer, const Variable& x, const Variable& mean,
                 const Pass& pass) const {
    const Variable squares = square(cast(x, DType::f32)), sigma2 = exp(layer.log_sigma2.raw(pass));
    const Variable variance = layer.conv != nullptr
                                  ? conv2d(squares, sigma2, {}, layer.conv->options())
                                  : linear(squares, sigma2, {});
    const Tensor noise = layer.noise.normal(variance.shape(), pass.position(), 0, DType::f32,
                                            variance.value().device());
    return cast(with_noise(cast(mean, DType::f32), variance, noise, var_floor_),
                mean.value().dtype());
  }

  /// 1 where a weight stays, else 0.
  Tensor kept_by(const NoisyLayer& layer) const {
    return add(negate(at_least(noise_level(layer), threshold_)), 1);
  }

  WeightChoice choice_;
  double threshold_, log_sigma2_init_, kl_start_, kl_ramp_, kl_weight_;
  bool clips_in_training_;
  double la_clip_, var_floor_;
  int64_t bn_images_;
  std::string key_, start_key_;  // places of the recipe, for errors
  double epochs_ = 0;            // of the phase
  double ramp_ = 0;              // in the last step

  std::vector<PrunableWeight> weights_;
  std::vector<NoisyLayer> layers_;  // of weights_
};

const Registered<SparseVd> registered("sparse_vd", "arXiv:1701.05369",
                                      "every weight learns its noise; what is mostly noise goes",
                                      ResultKind::kFileOnly);

}  // namespace
}  // namespace vtrain
