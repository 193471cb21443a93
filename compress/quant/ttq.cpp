// Trained ternary quantization. Zhu, Han, Mao, Dally, "Trained Ternary Quantization", ICLR 2017,
// arXiv:1612.01064.
//
//   w_t = W_p where w > D, -W_n where w < -D, else 0       D = t max|w| of the layer
//   dL/dW_p = sum of g over I_p;  dL/dW_n = -sum of g over I_n          g = dL/dw_t
//   dL/dw = W_p g on I_p,  W_n g on I_n,  g elsewhere
//
// Each layer has two magnitudes that learn with the network; the weights behind keep learning and
// decide which of the three values they stand for. `sparsity` sets D to that quantile of |w|
// instead, the paper's second rule. The first and the last layer stay real.
//
// What is left: two bits a weight and two scales a layer in the file, a sixteenth; the network
// computes in reals with the three values and runs as fast as before. vtrain export --int8 puts it
// on integers.
//
// Magnitudes start at mean|w| over their weights; the authors' code starts at 1 (init_scale: one),
// which needs a batch norm behind every layer. It also divides the weights of a layer by their
// largest before training: not done here, W_p and W_n take its place. Weights at D exactly are 0;
// in the authors' code they are neither 0 nor scaled. A magnitude may become negative; the report
// says so.
#include <algorithm>
#include <cmath>
#include <memory>

#include "compress/deploy/packed_file.h"
#include "compress/parts/quant_targets.h"
#include "compress/parts/rounding_report.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

/// The two magnitudes of each layer: trained, and not decayed.
class TernaryScales final : public Module {
 public:
  Parameter add_scale(const std::string& name) { return add(name, Parameter({1}, Init::ones())); }
};

struct TernaryLayer {
  QuantLayer target;
  Parameter positive, negative;  // W_p, W_n
};

class Ttq final : public Method {
 public:
  explicit Ttq(Recipe& r)
      : choice_(read_quant_choice(r, {"first", "last"})),
        t_(r.real("t", 0.05, in(0, 0.5), "D as a share of a layer's largest weight")),
        sparsity_(
            r.maybe_real("sparsity", in(0, 1), "share of zeros of each layer, in place of t")),
        starts_at_one_(r.choice("init_scale", "mean", {"mean", "one"},
                                "where magnitudes start; mean: of the weights they stand for") ==
                       "one"),
        scale_lr_(r.real("scale_lr", 1, above(0), "learning rate of magnitudes, relative")) {
    if (sparsity_ && r.has("t")) r.fail("t", "has no effect beside sparsity");
    if (sparsity_ && (*sparsity_ == 0 || *sparsity_ == 1))
      r.fail("sparsity", str("expected a number in (0, 1), got ", *sparsity_));
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override { report_.state(archive); }

  void attach(Run& run) override {
    scales_ = std::make_shared<TernaryScales>();
    QuantTargets targets = quant_targets(run.net(), choice_, key_);
    report_.attach(run, targets.layers, [this](size_t i) { return weight_codes(layers_[i]); });
    for (QuantLayer& layer : targets.layers) {
      const std::string path = layer.weight.path();
      layers_.push_back({.target = std::move(layer),
                         .positive = scales_->add_scale(path + ".positive"),
                         .negative = scales_->add_scale(path + ".negative")});
    }
    run.add_module("scales", scales_);
    run.add_group({.name = "scales",
                   .parameters = scales_->parameters(),
                   .lr_scale = scale_lr_,
                   .weight_decay = 0});
    for (const TernaryLayer& layer : layers_)
      run.transform_weight(layer.target.weight, Slot::kQuantize,
                           [this, layer](const Variable& w, const Pass& pass) {
                             return ternary(w, layer.positive.raw(pass), layer.negative.raw(pass));
                           });
  }

  void start(Run&) override {
    if (!starts_at_one_) start_at_means();
    report_.start();
  }

  void after_update(Step& step) override { report_.after_update(step); }

  void finish(Run& run) override {
    report_.write(run);
    std::vector<PackedWeight> packed;
    int64_t zeros = 0;
    std::string negative;
    for (const TernaryLayer& layer : layers_) {
      const WeightCodes now = weight_codes(layer);
      zeros += std::ranges::count(now.codes.to_vector(), 0.0);
      const double up = layer.positive.value().item(), down = layer.negative.value().item();
      if (up < 0 || down < 0)
        negative += str(negative.empty() ? "" : ", ", layer.target.path, ' ', up, ' ', down);
      packed.push_back({.path = layer.target.weight.path(),
                        .codes = now.codes,
                        .scale = from_values({2}, {down, up}),
                        .scales = PackedWeight::Scales::kSign});
    }
    run.pack(packed);
    const PackedSize size = packed_size(packed);
    run.report(
        "ternary",
        str(layers_.size(), " layers, ", size.weights, " weights in ", size.bytes,
            " bytes with their scales, ",
            static_cast<double>(std::llround(100 * size.bits_per_weight())) / 100, " bits each; ",
            std::llround(100.0 * static_cast<double>(zeros) / static_cast<double>(size.weights)),
            " % zeros"));
    if (!negative.empty()) run.report("negative magnitudes", negative);
  }

 private:
  void start_at_means() {
    for (TernaryLayer& layer : layers_) {
      const std::vector<double> w = layer.target.weight.value().to_vector();
      const std::vector<int8_t> signs = signs_of(w);
      for (const int sign : {1, -1}) {
        double sum = 0;
        int64_t count = 0;
        for (size_t i = 0; i < w.size(); ++i) {
          if (signs[i] != sign) continue;
          sum += std::abs(w[i]);
          ++count;
        }
        if (count == 0) continue;  // it stands for nothing yet
        (sign > 0 ? layer.positive : layer.negative)
            .set(from_values({1}, {sum / static_cast<double>(count)}));
      }
    }
  }

  /// D: what is not larger is 0.
  double threshold(const std::vector<double>& w) const {
    std::vector<double> sizes;
    for (const double x : w) sizes.push_back(std::abs(x));
    if (!sparsity_) return t_ * *std::ranges::max_element(sizes);
    const auto zeros = std::llround(*sparsity_ * static_cast<double>(sizes.size()));
    if (zeros == 0) return 0;
    std::nth_element(sizes.begin(), sizes.begin() + (zeros - 1), sizes.end());
    return sizes[static_cast<size_t>(zeros - 1)];
  }

  std::vector<int8_t> signs_of(const std::vector<double>& w) const {
    const double bound = threshold(w);
    std::vector<int8_t> signs;
    for (const double x : w)
      signs.push_back(static_cast<int8_t>(x > bound ? 1 : x < -bound ? -1 : 0));
    return signs;
  }

  WeightCodes weight_codes(const TernaryLayer& layer) const {
    const Tensor& weight = layer.target.weight.value();
    const std::vector<int8_t> signs = signs_of(weight.to_vector());
    return {.reals = weight.to(Device{}),
            .codes = from_values(weight.shape(), std::vector<double>(signs.begin(), signs.end()),
                                 DType::i8),
            .scales = {layer.negative.value().item(), layer.positive.value().item()},
            .bits = 2};
  }

  Variable ternary(const Variable& w, const Variable& positive, const Variable& negative) const {
    const std::vector<int8_t> signs = signs_of(w.value().to_vector());
    const double up = positive.value().item(), down = negative.value().item();
    std::vector<double> values;
    for (const int8_t sign : signs) values.push_back(sign > 0 ? up : sign < 0 ? -down : 0);
    const Device device = w.value().device();
    return Variable::from({.name = "ternary_weight"},
                          from_values(w.shape(), values, w.value().dtype(), device),
                          {w, positive, negative}, [signs, up, down, device](const Tensor& dy) {
                            std::vector<double> g = dy.to_vector();
                            double d_up = 0, d_down = 0;
                            for (size_t i = 0; i < g.size(); ++i) {
                              if (signs[i] > 0) d_up += g[i];
                              if (signs[i] < 0) d_down -= g[i];  // w_t is minus W_n there
                              g[i] *= signs[i] > 0 ? up : signs[i] < 0 ? down : 1;
                            }
                            return Grads{from_values(dy.shape(), g, dy.dtype(), device),
                                         from_values({1}, {d_up}, DType::f32, device),
                                         from_values({1}, {d_down}, DType::f32, device)};
                          });
  }

  QuantChoice choice_;
  double t_;
  std::optional<double> sparsity_;
  bool starts_at_one_;
  double scale_lr_;
  std::string key_;  // the place of the recipe's section, for errors

  std::shared_ptr<TernaryScales> scales_;
  std::vector<TernaryLayer> layers_;
  RoundingReport report_;
};

const Registered<Ttq> registered("ttq", "arXiv:1612.01064",
                                 "weights of three values, two of them learned for each layer",
                                 ResultKind::kPacked);

}  // namespace
}  // namespace vtrain
