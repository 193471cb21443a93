// Quantization-aware training with ranges that are watched. Jacob, Kligys, Chen, Zhu, Tang, Howard,
// Adam, Kalenichenko, "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877. Batch norm: Krishnamoorthi,
// "Quantizing deep convolutional networks for efficient inference", arXiv:1806.08342.
//
//   round(r) = S clamp(rne(r / S) + Z, low, high) - S Z       gradient 1 inside the range, else 0
//   weights      S from the largest |w a| of an output channel, a = gamma / sqrt(running_var + eps)
//   values       S from a moving average of what passes, at every place that integers will have
//
// The forward pass rounds where the deployed network rounds (compress/deploy/int8_layout.h): inputs
// of layers, behind a residual sum and its ReLU, and not between a convolution and its norm. Floats
// go on learning behind the rounding. What is left is a network on integers: weights and values of
// a byte, a quarter of the memory, products of 8-bit codes.
//
// The knob bn says how batch norm and rounded weights go together:
//
//   unfold   y = conv(x, round(w a)) / a, then the ordinary batch norm, which uses the batch's
//            statistics until epoch freeze_bn_epoch; a is a constant in both places
//   correct  mean and variance are those of the convolution in reals, which runs besides: then
//            rounded weights do not change with the batch (Krishnamoorthi)
//   folded   the norm is folded into the weights at the start and gone; for short fine-tuning
//
// With frozen statistics all three compute what is deployed.
//
// The paper has one scale for a layer's weights; here each output channel has its own
// (per_channel). The paper adds zero points wherever a range lies askew; here behind GELU and its
// kin only, and nowhere with symmetric_activations. Biases are not rounded, as in the paper's
// training. Steps learned by gradient are a method of their own: lsq.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "autograd/arithmetic.h"
#include "autograd/conv2d.h"
#include "autograd/shape.h"
#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
#include "compress/parts/bit_overrides.h"
#include "compress/parts/observed_ranges.h"
#include "compress/parts/quant_targets.h"
#include "compress/parts/rounding_report.h"
#include "compress/registry.h"
#include "nn/layers/conv2d.h"
#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

enum class NormForm { kUnfold, kCorrect, kFolded };

/// What a norm multiplies with, gamma / sqrt(running_var + eps), kept away from 0, which could not
/// be divided by; `bn.weight` follows.
std::vector<double> kept_from_zero(BatchNormConstants& bn) {
  constexpr double kLeast = 1e-5;
  std::vector<double> gamma = bn.weight.to_vector(), factors;
  const std::vector<double> var = bn.var.to_vector();
  for (size_t o = 0; o < gamma.size(); ++o) {
    const double deviation = std::sqrt(var[o] + bn.eps);
    if (std::abs(gamma[o]) < kLeast * deviation)
      gamma[o] = std::copysign(kLeast * deviation, gamma[o]);
    factors.push_back(gamma[o] / deviation);
  }
  bn.weight = from_values(bn.weight.shape(), gamma);
  return factors;
}

/// (C) beside x: along axis 1 of (N, C, H, W) and (N, C).
Variable along_channels(const Variable& per_channel, int ndim) {
  Shape shape(static_cast<size_t>(ndim), 1);
  shape[1] = per_channel.dim(0);
  return reshape(per_channel, shape);
}

class MinMax final : public Method {
 public:
  explicit MinMax(Recipe& r)
      : choice_(read_quant_choice(r, {})),
        weight_bits_(read_bits(r, kWeightBits, "of weights")),
        activation_bits_(read_bits(r, kActivationBits, "of values between layers")),
        overrides_(r, {{.key = kWeightBits, .own = weight_bits_, .help = "of weights"},
                       {.key = kActivationBits, .own = activation_bits_, .help = "of inputs"}}),
        is_per_channel_(
            r.flag("per_channel", true, "a scale for each output channel, else for each layer")),
        weights_by_error_(r.choice("weight_range", "current", {"current", "mse"},
                                   "mse: the range with the least squared error") == "mse"),
        weight_steps_(r.integer("weight_steps", 80, in(1, 99), "ranges that mse tries")),
        range_(r.choice("range", "ema", observer_kinds(), "how ranges follow from values")),
        calib_batches_(
            r.integer("calib_batches", 32, at_least(0),
                      "batches of 64 images that ranges begin with; 0: with the first step")),
        act_delay_steps_(r.maybe_integer("act_delay_steps", at_least(0),
                                         "steps before values are rounded; null: none, or one "
                                         "epoch without calibration")),
        freeze_bn_epoch_(
            r.maybe_integer("freeze_bn_epoch", at_least(0),
                            "batch norm keeps its statistics from here on; null: the last third")),
        freeze_observer_epoch_(r.maybe_integer("freeze_observer_epoch", at_least(0),
                                               "ranges stay from here on; null: with batch norm")),
        is_symmetric_(r.flag("symmetric_activations", false, "no zero point behind GELU either")) {
    observer_.decay =
        r.maybe_real("ema_decay", in(0, 1), "what stays of the past; null: 0.999, percentile 0.9");
    observer_.share = r.real("percentile", 0.99999, in(0, 1), "share of values inside the range");
    observer_.bins = r.integer("bins", 2048, in(2, 1 << 20), "of the histogram of percentile");
    observer_.steps = r.integer("range_steps", 95, in(1, 99), "ranges that mse tries");
    const std::string bn = r.choice("bn", "unfold", {"unfold", "correct", "folded"},
                                    "how batch norm and rounded weights go together");
    form_ = bn == "unfold"    ? NormForm::kUnfold
            : bn == "correct" ? NormForm::kCorrect
                              : NormForm::kFolded;
    refuse_without_effect(r);
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override { report_.state(archive); }

  void attach(Run& run) override {
    const int64_t last_third = run.epochs() - run.epochs() / 3;
    freeze_bn_ = form_ == NormForm::kFolded ? 0 : freeze_bn_epoch_.value_or(last_third);
    freeze_observer_ = freeze_observer_epoch_.value_or(
        form_ == NormForm::kFolded ? freeze_bn_epoch_.value_or(last_third) : freeze_bn_);
    targets_ = quant_targets(run.net(), choice_, key_);
    overrides_.match(targets_);
    if (activation_bits_ != kRealBits) attach_values(run);
    for (const QuantLayer& layer : targets_.layers) attach_layer(run, layer);
    if (rounds_weights())
      report_.attach(run, targets_.layers, [this](size_t i) { return weight_codes(i); });
  }

  void start(Run& run) override {
    if (form_ == NormForm::kFolded) {
      for (const QuantLayer& layer : targets_.layers) fold(layer);
    }
    if (activation_bits_ != kRealBits && calib_batches_ > 0) calibrate_values(run);
    if (rounds_weights()) report_.start();
  }

  void before_forward(Run&, const Pass& pass) override {
    const int64_t delay_epochs = calib_batches_ > 0 ? 0 : 1;
    rounds_values_ = act_delay_steps_ ? pass.step >= *act_delay_steps_ : pass.epoch >= delay_epochs;
    for (const QuantLayer& layer : targets_.layers) {
      if (!layer.norm) continue;
      layer.norm->mean.freeze(pass.epoch >= freeze_bn_);
      layer.norm->var.freeze(pass.epoch >= freeze_bn_);
    }
  }

  void after_update(Step& step) override {
    if (rounds_weights()) report_.after_update(step);
  }

  void finish(Run& run) override {
    if (!rounds_weights()) {  // then values are real too
      run.report("quantization", "none: all bits are 32");
      return;
    }
    if (activation_bits_ != kRealBits && !rounds_values_)
      throw Error(str(key_, ": act_delay_steps: expected fewer steps than the phase has, got ",
                      act_delay_steps_.value_or(0), ": values were never rounded"));
    report_.write(run, activation_bits_ == kRealBits ? std::vector<QuantValue>{} : targets_.values);
    if (activation_bits_ != kRealBits) {
      deploy(run);
      for (const QuantLayer& layer : targets_.layers)
        Parameter(layer.weight).set(rounded(layer, layer.weight.value()).reals);
    } else {
      std::vector<PackedWeight> packed;
      for (const QuantLayer& layer : targets_.layers) packed.push_back(packed_weight(layer));
      run.pack(packed);
      const PackedSize size = packed_size(packed);
      run.report("packed bytes", str(size.bytes, " for ", size.weights, " weights"));
    }
    run.report(
        "quantization",
        str(targets_.layers.size(), " layers, weights of ",
            bits_text(overrides_.of_layers(kWeightBits, targets_, weight_bits_)), ", values ",
            activation_bits_ == kRealBits ? "in reals" : "of " + bits_text(value_bits_),
            "; ranges ", range_));
  }

 private:
  static int64_t read_bits(Recipe& r, const char* key, const char* what) {
    const int64_t bits =
        r.integer(key, 8, in(2, kRealBits), str(what, ", 2 to 8; 32: not rounded"));
    if (bits > 8 && bits != kRealBits)
      r.fail(key, str("expected 2 to 8 for codes of a byte, or 32 for none, got ", bits));
    return bits;
  }
  bool rounds_weights() const { return weight_bits_ != kRealBits; }
  int64_t bits_of(const QuantLayer& layer) const {
    return overrides_.of(kWeightBits, layer.path, weight_bits_);
  }

  void refuse_without_effect(Recipe& r) const {
    const auto refuse = [&](bool is_idle, const char* key, const std::string& where) {
      if (is_idle && r.has(key)) r.fail(key, "has no effect " + where);
    };
    refuse(range_ != "ema" && range_ != "percentile", "ema_decay",
           str("with range ", range_, ", which does not average"));
    for (const char* const key : {"percentile", "bins"})
      refuse(range_ != "percentile", key, str("with range ", range_));
    refuse(range_ != "mse", "range_steps", str("with range ", range_));
    refuse(!weights_by_error_, "weight_steps", "with weight_range current");
    if (weight_bits_ == kRealBits && activation_bits_ != kRealBits)
      r.fail("activation_bits",
             "expected 32 beside weights of 32 bits: integers multiply codes with codes");
    for (const char* const key : {"per_channel", "weight_range", "bn"})
      refuse(weight_bits_ == kRealBits, key, "on weights of 32 bits");
    for (const char* const key : {"range", "calib_batches", "act_delay_steps",
                                  "freeze_observer_epoch", "symmetric_activations"})
      refuse(activation_bits_ == kRealBits, key, "on values of 32 bits");
  }

  // Values.

  CodeScheme scheme_of(const QuantValue& value) const {
    return is_symmetric_ && value.scheme == CodeScheme::kAffine ? CodeScheme::kFull : value.scheme;
  }

  ObserverOptions options_of(size_t i) const {
    ObserverOptions options = observer_;
    options.scheme = scheme_of(targets_.values[i]);
    options.bits = value_bits_[i];
    return options;
  }

  void attach_values(Run& run) {
    value_bits_ = overrides_.of_values(kActivationBits, targets_,
                                       [this](size_t) { return activation_bits_; });
    std::vector<std::string> names;
    std::vector<ObserverOptions> options;
    for (size_t i = 0; i < targets_.values.size(); ++i) {
      names.push_back(targets_.values[i].name);
      options.push_back(options_of(i));
    }
    ranges_ = std::make_shared<ObservedRanges>(names, range_, options);
    run.add_module("ranges", ranges_);
    for (size_t i = 0; i < targets_.values.size(); ++i) {
      const QuantValue& value = targets_.values[i];
      for (const std::string& place : value.places) {
        const bool is_watched = std::ranges::count(value.watched, place) > 0;
        run.transform_value(place, Slot::kQuantize,
                            [this, i, is_watched](const Variable& x, const Pass& pass) {
                              return rounded_value(i, is_watched, x, pass);
                            });
      }
    }
  }

  Variable rounded_value(size_t i, bool is_watched, const Variable& x, const Pass& pass) {
    if (is_calibrating_) {
      if (is_watched) seen_[i].observe(x.value());
      return x;
    }
    if (is_watched && pass.is_training && pass.epoch < freeze_observer_)
      ranges_->observe(i, x.value());
    if (!rounds_values_ || !ranges_->has_seen(i)) return x;
    if (is_watched && report_.is_watching()) report_.watch(i, x.value(), type_of(i));
    return Quantizer(type_of(i))(x);
  }
  QuantizedType type_of(size_t i) const {
    return quantized_type(ranges_->range(i), scheme_of(targets_.values[i]), value_bits_[i]);
  }

  /// Weights are rounded and values are not, so that each range is that of a network that works. An
  /// average would hardly move in so few batches: it begins with the widest range.
  void calibrate_values(Run& run) {
    seen_.clear();
    for (size_t i = 0; i < targets_.values.size(); ++i)
      seen_.emplace_back(range_ == "ema" ? "minmax" : range_, options_of(i));
    is_calibrating_ = true;
    constexpr int64_t kImages = 64;
    for (const Batch& batch : run.samples(kImages * calib_batches_))
      run.net().forward(batch.images, Pass{});
    is_calibrating_ = false;
    for (size_t i = 0; i < seen_.size(); ++i) ranges_->set(i, seen_[i].range());
    seen_.clear();
  }

  // Weights.

  struct RoundedLayer {
    Tensor reals;   // as the layer reads them: the norm is not in them
    Tensor folded;  // with the norm
    Quantizer quantizer;
  };

  Quantizer weight_quantizer(const Tensor& weight, int64_t bits) const {
    std::vector<ValueRange> ranges =
        is_per_channel_ ? channel_ranges(weight) : std::vector<ValueRange>{min_max(weight)};
    if (weights_by_error_)
      ranges = least_error_ranges(weight, ranges, CodeScheme::kSymmetric, bits, weight_steps_);
    return {ranges, CodeScheme::kSymmetric, bits};
  }

  /// The codes are those of the deployed layer: of the weights with the norm as it is now.
  RoundedLayer rounded(const QuantLayer& layer, const Tensor& weight) const {
    const Tensor own = weight.to(Device{}).contiguous();
    if (!layer.norm) {
      Quantizer quantizer = weight_quantizer(own, bits_of(layer));
      const Tensor reals = quantizer(own);
      return {.reals = reals, .folded = own, .quantizer = std::move(quantizer)};
    }
    BatchNormConstants bn = layer.norm->constants();
    const std::vector<double> a = kept_from_zero(bn);
    const Tensor folded = fold_batch_norm(own, {}, bn).weight;
    Quantizer quantizer = weight_quantizer(folded, bits_of(layer));
    Shape rows(static_cast<size_t>(own.ndim()), 1);
    rows[0] = own.dim(0);
    Tensor reals = divide(quantizer(folded), from_values(rows, a));
    return {.reals = std::move(reals), .folded = folded, .quantizer = std::move(quantizer)};
  }

  void attach_layer(Run& run, const QuantLayer& layer) {
    if (form_ == NormForm::kFolded && layer.norm) {
      run.freeze(layer.norm->weight.path());
      if (layer.bias.defined()) run.freeze(layer.bias.path());
    }
    if (weight_bits_ == kRealBits) return;
    run.transform_weight(layer.weight, Slot::kQuantize,
                         [this, layer](const Variable& w, const Pass&) {
                           return straight_through(rounded(layer, w.value()), w);
                         });
    if (form_ == NormForm::kCorrect && layer.norm) attach_correction(run, layer);
  }

  /// d(round(w a) / a) / dw is 1 inside the range: a cancels. The ends of the range `current` are
  /// weights, which are inside whatever their last bit says.
  Variable straight_through(const RoundedLayer& layer, const Variable& w) const {
    const Device device = w.value().device();
    std::optional<InsideMask> inside;
    if (weights_by_error_) {
      const Quantizer& q = layer.quantizer;
      inside = fake_quantize_with_mask(layer.folded, q.scale(), q.range()).inside;
      inside->bits = inside->bits.to(device);
    }
    return Variable::from({.name = "rounded_weight"}, layer.reals.to(device), {w},
                          [inside = std::move(inside)](const Tensor& dy) {
                            return Grads{inside ? fake_quantize_grad(*inside, dy) : dy};
                          });
  }

  bool moves_statistics(const Pass& pass) const {
    return pass.is_training && pass.epoch < freeze_bn_;
  }

  /// Krishnamoorthi's correction: the norm normalises with what the convolution in reals gives.
  void attach_correction(Run& run, const QuantLayer& layer) {
    const auto* const conv = dynamic_cast<const Conv2d*>(&run.net().module(layer.path));
    if (conv == nullptr)
      throw RecipeError(str(key_, ".bn: correct: ", layer.path,
                            ": expected a convolution in front of ", layer.norm->path));
    const auto plain = std::make_shared<Variable>();
    run.wrap(layer.path, Slot::kReparameterise,
             [this, layer, conv, plain](const Variable& x, const Inner& inner, const Pass& pass) {
               if (moves_statistics(pass))
                 *plain = conv2d(x, cast(layer.weight.raw(pass), x.value().dtype()),
                                 layer.bias.defined() ? layer.bias.raw(pass) : Variable(),
                                 conv->options());
               return inner(x);
             });
    run.wrap(layer.norm->path, Slot::kReparameterise,
             [this, layer, plain](const Variable& x, const Inner& inner, const Pass& pass) {
               if (!moves_statistics(pass) || !plain->defined()) return inner(x);
               const Variable reals = std::exchange(*plain, Variable());
               inner(reals);  // which moves the running statistics
               return normalised(x, reals, *layer.norm, pass);
             });
  }

  /// x through a batch norm with the statistics of `reals`.
  static Variable normalised(const Variable& x, const Variable& reals, const NormBehind& norm,
                             const Pass& pass) {
    const std::vector<int> positions =
        x.ndim() == 4 ? std::vector<int>{0, 2, 3} : std::vector<int>{0};
    const Variable center = mean(reals, positions, /*keep_dims=*/true),
                   variance = mean(square(reals - center), positions, /*keep_dims=*/true);
    const Variable gamma = along_channels(norm.weight.effective_full(pass), x.ndim()),
                   beta = along_channels(norm.bias.effective_full(pass), x.ndim());
    return cast((x - center) * (gamma / sqrt(variance + norm.eps)) + beta, x.value().dtype());
  }

  /// The norm into the weights, for good: what is left of it adds the bias.
  static void fold(const QuantLayer& layer) {
    if (!layer.norm) return;
    Parameter weight = layer.weight, bias = layer.bias;
    const NormBehind& norm = *layer.norm;
    const Tensor own = weight.value().to(Device{}).contiguous();
    const FoldedLayer folded = fold_batch_norm(
        own, bias.defined() ? bias.value().to(Device{}) : Tensor(), norm.constants());
    weight.set(folded.weight);
    if (bias.defined()) bias.set(zeros(folded.bias.shape()));
    Parameter gamma = norm.weight, beta = norm.bias, mean = norm.mean, var = norm.var;
    gamma.set(full(folded.bias.shape(), std::sqrt(1 + norm.eps)));
    beta.set(folded.bias);
    mean.set(zeros(folded.bias.shape()));
    var.set(ones(folded.bias.shape()));
  }

  void deploy(Run& run) {
    Quantization q = trained_quantization(
        run.net(), choice_, key_, targets_,
        [this](const QuantLayer& layer, const FoldedLayer& folded) {
          return RoundedWeight{.weight = folded.weight,
                               .quantizer = weight_quantizer(folded.weight, bits_of(layer))};
        },
        [&](const QuantValue& value) { return type_of(targets_.value_index(value.name, key_)); });
    run.deploy(std::move(q), {.range = range_,
                              .images = run.train_samples(),
                              .skip = real_layers(Graph(run.net()), choice_, key_, &targets_)});
  }
  /// Codes, and scales with the norm's factor taken out again, sign and all.
  PackedWeight packed_weight(const QuantLayer& layer) const {
    const RoundedLayer now = rounded(layer, layer.weight.value());
    const auto outputs = static_cast<size_t>(layer.weight.value().dim(0));
    std::vector<double> scale = now.quantizer.scale().to_vector();
    if (scale.size() == 1) scale.assign(outputs, scale[0]);
    if (layer.norm) {
      BatchNormConstants bn = layer.norm->constants();
      const std::vector<double> factors = kept_from_zero(bn);
      for (size_t o = 0; o < outputs; ++o) scale[o] /= factors[o];
    }
    return {.path = layer.weight.path(),
            .codes = now.quantizer.codes(now.folded),
            .scale = from_values({static_cast<int64_t>(outputs)}, scale),
            .scales = PackedWeight::Scales::kChannel};
  }

  WeightCodes weight_codes(size_t i) const {
    const QuantLayer& layer = targets_.layers[i];
    const RoundedLayer now = rounded(layer, layer.weight.value());
    const Tensor& scale = now.quantizer.scale();
    return {.reals = now.folded,
            .codes = now.quantizer.codes(now.folded),
            .scales = scale.to_vector(),
            .bits = bits_of(layer),
            .clipped = rounding_counts(now.folded, scale, now.quantizer.range()).clipped};
  }

  QuantChoice choice_;
  int64_t weight_bits_, activation_bits_;
  BitOverrides overrides_;
  bool is_per_channel_, weights_by_error_;
  int64_t weight_steps_;
  std::string range_;
  int64_t calib_batches_;
  std::optional<int64_t> act_delay_steps_, freeze_bn_epoch_, freeze_observer_epoch_;
  bool is_symmetric_;
  ObserverOptions observer_;
  NormForm form_ = NormForm::kUnfold;
  std::string key_;  // the place of the recipe's section, for errors

  QuantTargets targets_;
  std::vector<int64_t> value_bits_;  // of targets_.values
  RoundingReport report_;
  std::shared_ptr<ObservedRanges> ranges_;
  std::vector<Observer> seen_;                          // while ranges are calibrated
  int64_t freeze_bn_ = 0, freeze_observer_ = 0;         // epochs
  bool is_calibrating_ = false, rounds_values_ = true;  // of the pass that runs
};

const Registered<MinMax> registered("minmax", "arXiv:1712.05877",
                                    "trains with rounded weights and values, ends on integers",
                                    ResultKind::kPacked);

}  // namespace
}  // namespace vtrain
