// Learned step size quantization. Esser, McKinstry, Bablani, Appuswamy, Modha, "Learned Step Size
// Quantization", ICLR 2020, arXiv:1902.08153.
//
//   round(v) = s rne(clamp(v / s, -Qn, Qp))
//   dround/dv = 1 where -Qn < v / s < Qp, else 0
//   dround/ds = rne(v / s) - v / s there;  -Qn, Qp where v / s lies beyond
//   step s: its gradient times 1 / sqrt(N Qp), N weights of the layer, or values of one image
//           starts at 2 mean|v| / sqrt(Qp); for values from a first batch
//
// Steps are parameters that learn with the network: one for each layer's weight, one for each group
// of values that integers share (compress/deploy/int8_layout.h); batch norm stays an ordinary batch
// norm and is folded at the end, which keeps the codes. The first and the last layer have eight
// bits. What is left is a network on integers: values of a byte, products of 8-bit codes, whatever
// the bits; weights of four bits and less lie packed in the file.
//
// Weights have Qn = 2^(b-1), Qp = Qn - 1, as in the paper, but for eight bits, where the kernels
// know no code -128: Qn = 127. Values have Qn = 0 where they are never negative. The paper rounds
// the inputs of layers only; here a residual is rounded too, since integers keep it as codes. Its
// cosine schedule, and half and a quarter of the weight decay at three and two bits, are the
// recipe's.
#include <algorithm>
#include <cmath>
#include <memory>

#include "compress/deploy/int8_file.h"
#include "compress/parts/bit_overrides.h"
#include "compress/parts/quant_targets.h"
#include "compress/parts/rounding_report.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

const double kLeastStep = std::ldexp(1.0, -24);

/// The learned steps, by what they are of.
class LearnedSteps final : public Module {
 public:
  Parameter add_step(const std::string& name, int64_t scales) {
    return add(name, Parameter({scales}, Init::ones()));
  }
};

struct LsqTarget {
  Parameter step;
  CodeRange range;
};

class Lsq final : public Method {
 public:
  explicit Lsq(Recipe& r)
      : choice_(read_quant_choice(r, {})),
        weight_bits_(r.integer("weight_bits", 4, in(2, 8), "of weights")),
        activation_bits_(r.integer("activation_bits", 4, in(2, 8), "of values between layers")),
        edge_bits_(r.integer("first_last_bits", 8, in(2, 8),
                             "of weights and inputs of the first and the last layer")),
        overrides_(r, {{.key = kWeightBits, .own = weight_bits_, .help = "of weights"},
                       {.key = kActivationBits, .own = activation_bits_, .help = "of inputs"}}),
        is_per_channel_(r.flag("per_channel", false, "a step for each output channel")),
        scales_gradient_(r.flag("scale_gradient", true, "times 1 / sqrt(N Qp)")),
        step_lr_(r.real("step_lr", 1, above(0), "learning rate of steps, relative to weights'")) {
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override { report_.state(archive); }

  void attach(Run& run) override {
    targets_ = quant_targets(run.net(), choice_, key_);
    overrides_.match(targets_);
    value_bits_ = overrides_.of_values(kActivationBits, targets_,
                                       [this](size_t i) { return own_bits_of_value(i); });
    steps_ = std::make_shared<LearnedSteps>();
    for (const QuantLayer& layer : targets_.layers) {
      const int64_t scales = is_per_channel_ ? layer.weight.value().dim(0) : 1;
      weights_.push_back(
          {steps_->add_step(layer.weight.path(), scales), weight_range(bits_of(layer))});
    }
    for (size_t i = 0; i < targets_.values.size(); ++i)
      values_.push_back({steps_->add_step(targets_.values[i].name, 1), value_range(i)});
    run.add_module("steps", steps_);
    run.add_group({.name = "steps",
                   .parameters = steps_->parameters(),
                   .lr_scale = step_lr_,
                   .weight_decay = 0});
    for (size_t i = 0; i < targets_.layers.size(); ++i) attach_weight(run, i);
    for (size_t i = 0; i < targets_.values.size(); ++i) attach_value(run, i);
    report_.attach(run, targets_.layers, [this](size_t i) { return weight_codes(i); });
    if (is_per_channel_) refuse_cuts(run);
  }

  void start(Run& run) override {
    for (size_t i = 0; i < targets_.layers.size(); ++i) {
      LsqTarget& target = weights_[i];
      target.step.set(learned_scale_start(targets_.layers[i].weight.value().to(Device{}),
                                          target.step.value().numel(), target.range));
    }
    start_values(run);
    report_.start();
  }

  void after_update(Step& step) override {
    keep_steps_positive();
    report_.after_update(step);
  }

  void finish(Run& run) override {
    report_.write(run, targets_.values);
    run.deploy(trained_quantization(
                   run.net(), choice_, key_, targets_,
                   [this](const QuantLayer& layer, const FoldedLayer&) {
                     const LsqTarget& target = weights_[index_of(layer)];
                     return rounded_weight(codes_of(layer, target), target.step.value(),
                                           layer.norm);
                   },
                   [this](const QuantValue& value) {
                     return type_of(targets_.value_index(value.name, key_));
                   }),
               {.range = "lsq",
                .images = run.train_samples(),
                .skip = real_layers(Graph(run.net()), choice_, key_, &targets_)});
    for (size_t i = 0; i < targets_.layers.size(); ++i) {
      Parameter weight = targets_.layers[i].weight;
      weight.set(dequantize(codes_of(targets_.layers[i], weights_[i]),
                            weights_[i].step.value().to(Device{}), weights_[i].range));
    }
    run.report("quantization", str(targets_.layers.size(), " layers, ", bits_of_all()));
  }

 private:
  /// A step that has crossed 0 would turn signs.
  void keep_steps_positive() {
    for (const Parameter& p : steps_->parameters()) {
      std::vector<double> steps = p.value().to_vector();
      const auto is_small = [](double s) { return !(s >= kLeastStep); };
      if (std::ranges::none_of(steps, is_small)) continue;
      for (double& s : steps) s = std::max(std::abs(s), kLeastStep);
      Parameter(p).set(from_values(p.value().shape(), steps));
    }
  }

  int64_t bits_of(const QuantLayer& layer) const {
    return overrides_.of(kWeightBits, layer.path,
                         layer.is_first || layer.is_last ? edge_bits_ : weight_bits_);
  }
  static CodeRange weight_range(int64_t bits) {
    return code_range(bits == 8 ? CodeScheme::kSymmetric : CodeScheme::kFull, bits);
  }
  int64_t own_bits_of_value(size_t i) const {
    const bool is_at_edge = std::ranges::any_of(targets_.layers, [&](const QuantLayer& layer) {
      return layer.value == static_cast<int>(i) && (layer.is_first || layer.is_last);
    });
    return is_at_edge ? edge_bits_ : activation_bits_;
  }
  CodeRange value_range(size_t i) const {
    const bool is_unsigned = targets_.values[i].scheme == CodeScheme::kUnsigned;
    return code_range(is_unsigned ? CodeScheme::kUnsigned : CodeScheme::kFull, value_bits_[i]);
  }
  WeightCodes weight_codes(size_t i) const {
    const QuantLayer& layer = targets_.layers[i];
    const LsqTarget& target = weights_[i];
    const Tensor weight = layer.weight.value().to(Device{}).contiguous(),
                 step = target.step.value().to(Device{});
    return {.reals = weight,
            .codes = codes_of(layer, target),
            .scales = step.to_vector(),
            .bits = bits_of(layer),
            .clipped = rounding_counts(weight, step, target.range).clipped};
  }
  std::string bits_of_all() const {
    if (overrides_.is_empty())
      return str("weights of ", weight_bits_, " bits, values of ", activation_bits_,
                 ", at the first and last layer of ", edge_bits_);
    std::vector<int64_t> weights;
    for (const QuantLayer& layer : targets_.layers) weights.push_back(bits_of(layer));
    return str("weights of ", bits_text(weights), ", values of ", bits_text(value_bits_));
  }

  /// `elements` share a step.
  Variable rounded(const Variable& x, const LsqTarget& target, int64_t elements,
                   const Pass& pass) const {
    return learned_fake_quantize(
        x, target.step.raw(pass), target.range,
        scales_gradient_ ? learned_scale_factor(elements, target.range) : 1);
  }

  void attach_weight(Run& run, size_t i) {
    run.transform_weight(
        targets_.layers[i].weight, Slot::kQuantize, [this, i](const Variable& w, const Pass& pass) {
          const LsqTarget& target = weights_[i];
          return rounded(w, target, w.value().numel() / target.step.value().numel(), pass);
        });
  }

  void attach_value(Run& run, size_t i) {
    const QuantValue& value = targets_.values[i];
    for (const std::string& place : value.places) {
      const bool is_watched = std::ranges::count(value.watched, place) > 0;
      run.transform_value(place, Slot::kQuantize,
                          [this, i, is_watched](const Variable& x, const Pass& pass) {
                            if (is_watched && report_.is_watching())
                              report_.watch(i, x.value(), type_of(i));
                            return rounded(x, values_[i], x.value().numel() / x.dim(0), pass);
                          });
    }
  }

  /// From a batch as training sees it, in reals: on a copy, whose running statistics may move.
  void start_values(Run& run) {
    const std::unique_ptr<Network> copy = run.net().clone();
    std::vector<Tap> taps;
    for (const QuantValue& value : targets_.values)
      taps.push_back(copy->hooks().tap(value.watched.front(), run.method()));
    Pass training;
    training.is_training = true;
    copy->forward(run.samples(64).at(0).images, training);
    for (size_t i = 0; i < taps.size(); ++i) {
      const Tensor x = taps[i].value().value().to(Device{}).to(DType::f32);
      values_[i].step.set(learned_scale_start(x, 1, values_[i].range));
    }
  }

  static void refuse_cuts(Run& run) {
    run.follow_cuts([](const Parameter& parameter, int axis, const std::vector<int64_t>&) {
      if (axis == 0 && parameter.value().ndim() > 1)
        throw RecipeError(str("lsq: per_channel: filters of ", parameter.path(),
                              " are cut while their steps are learned; expected the cut in an "
                              "earlier phase"));
    });
  }

  static Tensor codes_of(const QuantLayer& layer, const LsqTarget& target) {
    return quantize(layer.weight.value().to(Device{}).contiguous(),
                    target.step.value().to(Device{}), target.range);
  }
  size_t index_of(const QuantLayer& layer) const {
    const auto found = std::ranges::find(targets_.layers, layer.path, &QuantLayer::path);
    if (found == targets_.layers.end())
      throw Error(str(key_, ": ", layer.path, ": was not rounded in training"));
    return static_cast<size_t>(found - targets_.layers.begin());
  }
  QuantizedType type_of(size_t i) const {
    return {.scale = static_cast<float>(values_[i].step.value().item()), .range = values_[i].range};
  }

  QuantChoice choice_;
  int64_t weight_bits_, activation_bits_, edge_bits_;
  BitOverrides overrides_;
  bool is_per_channel_, scales_gradient_;
  double step_lr_;
  std::string key_;  // the place of the recipe's section, for errors

  QuantTargets targets_;
  std::shared_ptr<LearnedSteps> steps_;
  std::vector<LsqTarget> weights_, values_;  // of targets_
  std::vector<int64_t> value_bits_;          // of targets_.values
  RoundingReport report_;
};

const Registered<Lsq> registered("lsq", "arXiv:1902.08153",
                                 "weights and values are rounded with steps that are learned",
                                 ResultKind::kPacked);

}  // namespace
}  // namespace vtrain
