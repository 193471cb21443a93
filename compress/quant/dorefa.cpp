// DoReFa-Net. Zhou, Wu, Ni, Zhou, Wen, Zou, "DoReFa-Net: Training Low Bitwidth Convolutional Neural
// Networks with Low Bitwidth Gradients", arXiv:1606.06160.
//
//   quantize_k(r) = rne((2^k - 1) r) / (2^k - 1) for r in [0, 1], gradient 1
//   weights       k > 1:  t = tanh(w);  2 quantize_k(t / (2 max|t|) + 1/2) - 1     max of the layer
//                 k = 1:  E sign(w), E = mean|w| of the layer, a constant; sign(0) = 1
//   values        quantize_k(clip(x, 0, 1)), gradient 1 inside
//   gradients     of a layer's output: compress/parts/rounded_gradient.h
//
// The first and the last layer stay real. 0 is no code of a weight, so that pruned weights would
// come back: a mask on the same weights is refused. Weights of eight bits are minmax's or lsq's:
// these codes are the odd numbers from -(2^k - 1) to 2^k - 1, of which a byte holds those of seven
// bits.
//
// What is left: weights of one bit, or of four for two to four, in the file. With values of few
// bits too the network runs on integers of a byte, and as fast as those; with values in reals it
// runs as fast as before.
//
// The derivative through max|t| is kept, as in the authors' code; detach_max drops it. With
// activation_bits 32 the ReLU stays as it is. Values that may be negative, which the paper does not
// have, are clipped to [-1, 1], on codes that are symmetric. A value is rounded where integers keep
// it: behind a residual sum, not in front. The noise of gradients is addressed by step and sample.
#include <algorithm>
#include <cmath>
#include <memory>

#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
#include "compress/parts/bit_overrides.h"
#include "compress/parts/quant_targets.h"
#include "compress/parts/rounded_gradient.h"
#include "compress/parts/rounding_report.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

double levels_of(int64_t bits) { return static_cast<double>((int64_t{1} << bits) - 1); }

/// A weight's odd codes, and what one of them is worth.
struct OddCodes {
  std::vector<double> codes;
  double scale = 1;
};

OddCodes odd_codes(const std::vector<double>& w, int64_t bits) {
  OddCodes result;
  double most = 0, sum = 0;
  for (const double x : w) {
    most = std::max(most, std::abs(std::tanh(x)));
    sum += std::abs(x);
  }
  const double n = levels_of(bits);
  if (bits == 1) {
    // A layer of nothing but zeros has no size: any will do.
    result.scale = sum > 0 ? sum / static_cast<double>(w.size()) : 1;
    for (const double x : w) result.codes.push_back(x >= 0 ? 1 : -1);
  } else {
    result.scale = 1 / n;
    for (const double x : w) {
      const double r = most > 0 ? std::tanh(x) / (2 * most) + 0.5 : 0.5;
      result.codes.push_back(2 * std::nearbyint(n * r) - n);
    }
  }
  result.scale =
      static_cast<double>(static_cast<float>(result.scale));  // as files and kernels have it
  return result;
}

class DoReFa final : public Method {
 public:
  explicit DoReFa(Recipe& r)
      : choice_(read_quant_choice(r, {"first", "last"})),
        weight_bits_(r.integer("weight_bits", 1, in(1, kRealBits), "of weights, 1 to 7; 32: real")),
        activation_bits_(r.integer("activation_bits", 2, in(1, kRealBits),
                                   "of values between layers, 1 to 8; 32: real")),
        gradient_bits_(r.integer("gradient_bits", kRealBits, in(2, kRealBits),
                                 "of the gradients of layers' outputs, 2 to 8; 32: real")),
        overrides_(r, {{.key = kWeightBits,
                        .own = weight_bits_,
                        .fewest = 1,
                        .most = 7,
                        .help = "of weights"},
                       {.key = kActivationBits,
                        .own = activation_bits_,
                        .fewest = 1,
                        .most = 8,
                        .help = "of inputs"}}),
        detaches_max_(r.flag("detach_max", false, "no gradient through the largest weight")) {
    if (weight_bits_ == 8)
      r.fail("weight_bits", "expected 1 to 7, got 8: use minmax or lsq, whose codes are a byte");
    if (weight_bits_ > 8 && weight_bits_ != kRealBits)
      r.fail("weight_bits", str("expected 1 to 7, or 32 for none, got ", weight_bits_));
    for (const auto& [key, bits] : {std::pair{"activation_bits", activation_bits_},
                                    std::pair{"gradient_bits", gradient_bits_}}) {
      if (bits > 8 && bits != kRealBits)
        r.fail(key, str("expected at most 8, or 32 for none, got ", bits));
    }
    if (weight_bits_ == kRealBits && activation_bits_ != kRealBits)
      r.fail("activation_bits",
             "expected 32 beside weights of 32 bits: integers multiply codes with codes");
    const bool has_max = weight_bits_ > 1 || overrides_.most(kWeightBits, weight_bits_) > 1;
    if (r.has("detach_max") && (!has_max || weight_bits_ == kRealBits))
      r.fail("detach_max", str("has no effect on weights of ", weight_bits_, " bits"));
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override { report_.state(archive); }

  void attach(Run& run) override {
    targets_ = quant_targets(run.net(), choice_, key_);
    overrides_.match(targets_);
    refuse_masks(run);
    for (const QuantLayer& layer : targets_.layers) {
      if (rounds_weights())
        run.transform_weight(layer.weight, Slot::kQuantize,
                             [this, bits = bits_of(layer)](const Variable& w, const Pass&) {
                               return rounded_weight_of(w, bits);
                             });
      if (gradient_bits_ != kRealBits) attach_gradient(run, layer);
    }
    if (rounds_weights())
      report_.attach(run, targets_.layers, [this](size_t i) { return weight_codes(i); });
    if (activation_bits_ == kRealBits) return;
    value_bits_ = overrides_.of_values(kActivationBits, targets_,
                                       [this](size_t) { return activation_bits_; });
    for (size_t i = 0; i < targets_.values.size(); ++i) attach_value(run, i);
  }

  void start(Run& run) override {
    refuse_masks(run);  // of methods that come later in the recipe
    if (rounds_weights()) report_.start();
  }

  void after_update(Step& step) override {
    if (rounds_weights()) report_.after_update(step);
  }

  void finish(Run& run) override {
    if (!rounds_weights()) {
      run.report("quantization", "none: gradients alone were rounded");
      return;
    }
    report_.write(run, activation_bits_ == kRealBits ? std::vector<QuantValue>{} : targets_.values);
    if (activation_bits_ == kRealBits) {
      std::vector<PackedWeight> packed;
      for (const QuantLayer& layer : targets_.layers) packed.push_back(packed_of(layer));
      run.pack(packed);
      const PackedSize size = packed_size(packed);
      run.report("packed bytes", str(size.bytes, " for ", size.weights, " weights"));
    } else {
      deploy(run);
    }
    run.report(
        "quantization",
        str(targets_.layers.size(), " layers, weights of ",
            bits_text(overrides_.of_layers(kWeightBits, targets_, weight_bits_)), ", values ",
            activation_bits_ == kRealBits ? "in reals" : "of " + bits_text(value_bits_)));
  }

 private:
  bool rounds_weights() const { return weight_bits_ != kRealBits; }
  int64_t bits_of(const QuantLayer& layer) const {
    return overrides_.of(kWeightBits, layer.path, weight_bits_);
  }

  /// A pruned weight has to stay 0.
  void refuse_masks(Run& run) const {
    if (!rounds_weights()) return;
    for (const QuantLayer& layer : targets_.layers) {
      for (const auto& hook : run.net().hooks().weight_transforms(layer.weight.path())) {
        if (hook.slot == Slot::kMask)
          throw RecipeError(str(key_, ": ", hook.owner, " masks ", layer.weight.path(),
                                ", and dorefa, which has no code for 0, would bring its weights "
                                "back; expected other layers, or ttq or minmax"));
      }
    }
  }

  Variable rounded_weight_of(const Variable& w, int64_t bits) const {
    const Tensor& value = w.value();
    const std::vector<double> own = value.to_vector();
    OddCodes rounded = odd_codes(own, bits);
    for (double& code : rounded.codes) code *= rounded.scale;
    return Variable::from({.name = "dorefa_weight"},
                          from_values(value.shape(), rounded.codes, value.dtype(), value.device()),
                          {w},
                          [own, is_binary = bits == 1, detaches = detaches_max_](const Tensor& dy) {
                            if (is_binary) return Grads{dy};
                            return Grads{through_tanh(own, dy, detaches)};
                          });
  }

  /// Of t / max|t|: what rounding hands on.
  static Tensor through_tanh(const std::vector<double>& w, const Tensor& dy, bool detaches_max) {
    std::vector<double> g = dy.to_vector(), t(w.size());
    size_t largest = 0;
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      t[i] = std::tanh(w[i]);
      sum += g[i] * t[i];
      if (std::abs(t[i]) > std::abs(t[largest])) largest = i;
    }
    const double most = std::abs(t[largest]);
    if (most == 0) return dy;
    for (double& x : g) x /= most;
    if (!detaches_max) g[largest] -= std::copysign(sum / (most * most), t[largest]);
    for (size_t i = 0; i < w.size(); ++i) g[i] *= 1 - t[i] * t[i];
    return from_values(dy.shape(), g, dy.dtype(), dy.device());
  }

  void attach_gradient(Run& run, const QuantLayer& layer) const {
    run.transform_value(layer.path + ".out", Slot::kReparameterise,
                        [bits = gradient_bits_, random = run.random("gradient." + layer.path)](
                            const Variable& x, const Pass& pass) {
                          if (!pass.wants_grad) return x;
                          return Variable::from(
                              {.name = "rounded_gradient"}, x.value(), {x},
                              [bits, random, at = pass.position()](const Tensor& dy) {
                                return Grads{rounded_gradient(dy, bits, random, at)};
                              });
                        });
  }

  void attach_value(Run& run, size_t i) {
    const QuantValue& value = targets_.values[i];
    const QuantizedType type = type_of(value, value_bits_[i]);
    for (const std::string& place : value.places) {
      const bool is_watched = std::ranges::count(value.watched, place) > 0;
      run.transform_value(
          place, Slot::kQuantize,
          [this, i, is_watched, type, quantizer = Quantizer(type)](const Variable& x, const Pass&) {
            if (is_watched && report_.is_watching()) report_.watch(i, x.value(), type);
            return quantizer(x);
          });
    }
  }

  /// A grid of its own, whatever the values.
  QuantizedType type_of(const QuantValue& value, int64_t bits) const {
    if (value.scheme == CodeScheme::kUnsigned) {
      const double n = levels_of(bits);
      return {.scale = static_cast<float>(1 / n),
              .range = {.low = 0, .high = static_cast<int64_t>(n)}};
    }
    if (bits == 1)
      throw RecipeError(str(key_, ".activation_bits: ", value.name,
                            " has values of either sign; expected at least 2 bits, or its layers "
                            "in skip"));
    const double n = levels_of(bits - 1);
    return {.scale = static_cast<float>(1 / n),
            .range = {.low = -static_cast<int64_t>(n), .high = static_cast<int64_t>(n)}};
  }

  PackedWeight packed_of(const QuantLayer& layer) const {
    const Tensor& weight = layer.weight.value();
    const OddCodes rounded = odd_codes(weight.to_vector(), bits_of(layer));
    return {.path = layer.weight.path(),
            .codes = from_values(weight.shape(), rounded.codes, DType::i8),
            .scale = from_values({1}, {rounded.scale}),
            .scales = PackedWeight::Scales::kTensor};
  }

  WeightCodes weight_codes(size_t i) const {
    const QuantLayer& layer = targets_.layers[i];
    const PackedWeight packed = packed_of(layer);
    const int64_t bits = bits_of(layer);
    return {.reals = layer.weight.value().to(Device{}),
            .codes = packed.codes,
            .scales = packed.scale.to_vector(),
            .bits = bits,
            .clipped = bits == 1 ? std::nullopt : std::optional<int64_t>(0)};
  }

  void deploy(Run& run) const {
    run.deploy(trained_quantization(
                   run.net(), choice_, key_, targets_,
                   [this](const QuantLayer& layer, const FoldedLayer&) {
                     const PackedWeight packed = packed_of(layer);
                     return rounded_weight(packed.codes, packed.scale, layer.norm);
                   },
                   [this](const QuantValue& value) {
                     return type_of(value, value_bits_[targets_.value_index(value.name, key_)]);
                   }),
               {.range = "dorefa",
                .images = run.train_samples(),
                .skip = real_layers(Graph(run.net()), choice_, key_, &targets_)});
    for (const QuantLayer& layer : targets_.layers)
      Parameter(layer.weight).set(reals_of(packed_of(layer)));
  }

  QuantChoice choice_;
  int64_t weight_bits_, activation_bits_, gradient_bits_;
  BitOverrides overrides_;
  bool detaches_max_;
  std::string key_;  // the place of the recipe's section, for errors
  QuantTargets targets_;
  std::vector<int64_t> value_bits_;  // of targets_.values; empty: they stay real
  RoundingReport report_;
};

const Registered<DoReFa> registered("dorefa", "arXiv:1606.06160",
                                    "weights, values and gradients on fixed grids of few bits",
                                    ResultKind::kPacked);

}  // namespace
}  // namespace vtrain
