// Incremental network quantization. Zhou, Yao, Guo, Xu, Chen, "Incremental Network Quantization:
// Towards Lossless CNNs with Low-Precision Weights", ICLR 2017, arXiv:1702.03044.
//
//   levels of a layer   0 and +-2^low .. +-2^high
//   high = floor(log2(4 max|w| / 3)),  low = high + 1 - 2^(bits - 1) / 2
//   Q(w) = sign(w) 2^k where 3/4 2^k <= |w| < 3/2 2^k,  0 below 2^low / 2: the nearest, ties up
//
// In stages: the first `portions` of each layer's weights, the largest, move to their levels and
// stay there; the rest learn on and make up for it, for `epochs_per_stage` epochs. Then the next
// portion follows, until all weights are powers of two. high and low are those of the weights that
// the phase starts with; what outgrows them later becomes 2^high.
//
// The first stage acts when the phase begins, and the last at the end of an epoch: what is left of
// the phase then trains biases and norms alone. Batch norms are measured again in the end. 5 bits
// are 17 values, as in the paper: a flag for 0 and four bits.
//
// What is left: two to five bits a weight and a scale a layer in the file. The network computes in
// reals with these values and runs as fast as before. vtrain export --int8 puts it on integers.
//
// The paper starts each stage with the first learning rate again; here the phase has one schedule,
// of which a constant rate comes nearest. The authors' code computes the levels anew for each stage
// and sends ties to 0.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "autograd/variable.h"
#include "compress/deploy/packed_file.h"
#include "compress/parts/batch_norm_statistics.h"
#include "compress/parts/bit_overrides.h"
#include "compress/parts/quant_targets.h"
#include "compress/parts/rounding_report.h"
#include "compress/registry.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

constexpr const char* kBits = "bits";

/// The largest k with 3/4 2^k <= size; exact, of a positive number.
int exponent_of(double size) {
  int exponent = 0;
  const double fraction = std::frexp(size, &exponent);  // in [1/2, 1)
  return fraction >= 0.75 ? exponent : exponent - 1;
}

/// The levels 0 and +-2^low .. +-2^high.
struct PowerLevels {
  int low = 0, high = 0;

  static PowerLevels of(const std::vector<double>& w, int64_t bits) {
    double most = 0;
    for (const double x : w) most = std::max(most, std::abs(x));
    const int high = most > 0 ? exponent_of(most) : 0;  // a layer of zeros has any levels
    return {.low = high + 1 - (1 << (bits - 2)), .high = high};
  }
  double nearest(double w) const {
    const double size = std::abs(w);
    if (size < std::ldexp(0.5, low)) return 0;
    return std::copysign(std::ldexp(1.0, std::clamp(exponent_of(size), low, high)), w);
  }
};

/// What a stage has decided, by layer: buffers, so that it is saved, and cut like its weight.
class FixedWeights final : public Module {
 public:
  struct Entry {
    Parameter learns;  // 1, or 0 where the weight has its level for good
    Parameter fixed;   // that level, 0 elsewhere
    Parameter high;    // (1) the layer's largest exponent
  };
  Entry add_for(const Parameter& weight) {
    const Shape& shape = weight.value().shape();
    const auto buffer = [&](const char* name, const Shape& of, Init init) {
      return add(str(weight.path(), '.', name), Parameter(of, init, /*is_buffer=*/true));
    };
    return {.learns = buffer("learns", shape, Init::ones()),
            .fixed = buffer("fixed", shape, Init::zeros()),
            .high = buffer("high", {1}, Init::zeros())};
  }
};

struct IncrementalLayer {
  QuantLayer target;
  FixedWeights::Entry state;
  int64_t bits = 5;
};

class Inq final : public Method {
 public:
  explicit Inq(Recipe& r)
      : choice_(read_quant_choice(r, {})),
        bits_(r.integer(kBits, 5, in(2, 5), "of a weight: 2^(bits - 1) + 1 levels")),
        overrides_(r,
                   {{.key = kBits, .own = bits_, .fewest = 2, .most = 5, .help = "of a weight"}}),
        portions_(r.reals("portions", {0.5, 0.75, 0.875, 1}, in_open_low(0, 1),
                          "share of each layer's weights that has its level after each stage")),
        is_random_(r.choice("partition", "magnitude", {"magnitude", "random"},
                            "which weights come first: the largest, or any") == "random"),
        epochs_per_stage_(
            r.integer("epochs_per_stage", 3, at_least(1), "training between two stages")),
        bn_images_(r.integer("bn_images", 1024, at_least(0),
                             "training images on which batch norms are measured in the end")) {
    if (portions_.empty() || portions_.back() != 1)
      r.fail("portions", "expected the last one to be 1: all weights");
    if (std::ranges::adjacent_find(portions_, std::greater_equal()) != portions_.end())
      r.fail("portions", "expected each one to be larger than the one before");
    key_ = str(r.where("layers"), ": ", r.address());
    stages_key_ = str(r.where("portions"), ": ", r.address(), ".portions");
  }

  void state(Archive& archive) override {
    archive("stage", stage_);
    report_.state(archive);
  }

  void attach(Run& run) override {
    const int64_t needed = (stages() - 1) * epochs_per_stage_;
    if (needed > run.epochs())
      throw RecipeError(str(stages_key_, ": ", stages(), " stages, ", epochs_per_stage_,
                            " epochs apart, need at least ", needed, " epochs, phase ", run.phase(),
                            " has ", run.epochs()));
    decided_ = std::make_shared<FixedWeights>();
    QuantTargets targets = quant_targets(run.net(), choice_, key_);
    overrides_.match(targets);
    report_.attach(run, targets.layers, [this](size_t i) { return weight_codes(layers_[i]); });
    for (QuantLayer& target : targets.layers) {
      const FixedWeights::Entry state = decided_->add_for(target.weight);
      const int64_t bits = overrides_.of(kBits, target.path, bits_);
      layers_.push_back({.target = std::move(target), .state = state, .bits = bits});
    }
    run.add_module("weights", decided_);
    run.follow_cuts([this](const Parameter& p, int axis, const std::vector<int64_t>& keep) {
      for (IncrementalLayer& layer : layers_) {
        if (!(p == layer.target.weight)) continue;
        layer.state.learns.replace(kept(layer.state.learns.value(), axis, keep));
        layer.state.fixed.replace(kept(layer.state.fixed.value(), axis, keep));
      }
    });
    for (const IncrementalLayer& layer : layers_)
      run.transform_weight(
          layer.target.weight, Slot::kQuantize,
          [this, layer](const Variable& w, const Pass&) { return partly_rounded(w, layer); });
  }

  void start(Run& run) override {
    for (IncrementalLayer& layer : layers_) {
      const PowerLevels levels =
          PowerLevels::of(layer.target.weight.value().to_vector(), layer.bits);
      layer.state.high.set(from_values({1}, {static_cast<double>(levels.high)}));
    }
    advance_to(run, 1);
    report_.start();
  }

  void after_update(Step& step) override {
    // Decay and momentum have moved what has its level.
    for (const IncrementalLayer& layer : layers_) restore(step.run(), layer);
    report_.after_update(step);
    if (!step.ends_epoch()) return;
    advance_to(step.run(), 1 + (step.pass().epoch + 1) / epochs_per_stage_);
    step.run().log("fixed_percent", fixed_percent());
  }

  bool is_settled() const override { return stage_ == stages(); }

  void finish(Run& run) override {
    std::vector<PackedWeight> packed;
    int64_t zeros = 0;
    std::string exponents;
    for (const IncrementalLayer& layer : layers_) {
      packed.push_back(packed_weight(layer));
      const std::vector<double> codes = packed.back().codes.to_vector();
      zeros += std::ranges::count(codes, 0.0);
      const PowerLevels levels = levels_of(layer);
      exponents +=
          str(exponents.empty() ? "" : ", ", layer.target.path, ' ', levels.low, "..", levels.high);
    }
    report_.write(run);
    run.pack(packed);
    const PackedSize size = packed_size(packed);
    run.report(
        "powers of two",
        str(layers_.size(), " layers", bits_of_all(), ", ", size.weights, " weights in ",
            size.bytes, " bytes with their scales, ",
            static_cast<double>(std::llround(100 * size.bits_per_weight())) / 100, " bits each; ",
            std::llround(100.0 * static_cast<double>(zeros) / static_cast<double>(size.weights)),
            " % zeros"));
    run.report("exponents", exponents);
    const int64_t norms = remeasure_batch_norms(run, bn_images_);
    if (bn_images_ > 0 && norms > 0) run.report("batch norms", str(norms, " measured again"));
  }

 private:
  /// Where layers differ.
  std::string bits_of_all() const {
    if (overrides_.is_empty()) return "";
    std::vector<int64_t> bits;
    for (const IncrementalLayer& layer : layers_) bits.push_back(layer.bits);
    return " of " + bits_text(bits);
  }
  int64_t stages() const { return static_cast<int64_t>(portions_.size()); }

  PowerLevels levels_of(const IncrementalLayer& layer) const {
    const int high = static_cast<int>(layer.state.high.value().item());
    return {.low = high + 1 - (1 << (layer.bits - 2)), .high = high};
  }

  /// What has its level is on it, whatever a mask in front or an average has made of it; the rest
  /// is as it is. No gradient reaches the first.
  Variable partly_rounded(const Variable& w, const IncrementalLayer& layer) const {
    const PowerLevels levels = levels_of(layer);
    const Tensor& learns = layer.state.learns.value();
    std::vector<double> values = w.value().to_vector();
    const std::vector<double> learning = learns.to_vector();
    for (size_t i = 0; i < values.size(); ++i) {
      if (learning[i] == 0) values[i] = levels.nearest(values[i]);
    }
    return Variable::from({.name = "partly_rounded"},
                          from_values(w.shape(), values, w.value().dtype(), w.value().device()),
                          {w}, [learns](const Tensor& dy) { return Grads{multiply(dy, learns)}; });
  }

  static void restore(Run& run, const IncrementalLayer& layer) {
    const Tensor& learns = layer.state.learns.value();
    Tensor w = layer.target.weight.value();
    w.copy_from(add(multiply(w, learns), layer.state.fixed.value()));
    for (Tensor& moment : run.moments(layer.target.weight))
      moment.copy_from(multiply(moment, learns));
  }

  void advance_to(Run& run, int64_t stage) {
    for (; stage_ < std::min(stage, stages()); ++stage_) {
      for (IncrementalLayer& layer : layers_)
        fix(run, layer, portions_[static_cast<size_t>(stage_)]);
    }
  }

  /// Moves weights to their levels, until the portion of them is there.
  void fix(Run& run, IncrementalLayer& layer, double portion) {
    const PowerLevels levels = levels_of(layer);
    std::vector<double> w = layer.target.weight.value().to_vector(),
                        learns = layer.state.learns.value().to_vector(),
                        fixed = layer.state.fixed.value().to_vector();
    int64_t left =
        std::llround(portion * static_cast<double>(w.size())) - std::ranges::count(learns, 0.0);
    for (const int64_t i : order_of(run, layer, w)) {
      if (left <= 0) break;
      const auto at = static_cast<size_t>(i);
      if (learns[at] == 0) continue;
      learns[at] = 0;
      w[at] = fixed[at] = levels.nearest(w[at]);
      --left;
    }
    const Shape& shape = layer.target.weight.value().shape();
    layer.target.weight.set(from_values(shape, w));
    layer.state.learns.set(from_values(shape, learns));
    layer.state.fixed.set(from_values(shape, fixed));
    restore(run, layer);
  }

  /// In which order weights get their levels: the largest first, ties by position, or at random.
  std::vector<int64_t> order_of(Run& run, const IncrementalLayer& layer,
                                const std::vector<double>& w) const {
    const auto n = static_cast<int64_t>(w.size());
    if (is_random_) return run.random("partition." + layer.target.path).permutation(n, 0);
    std::vector<int64_t> order(w.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&w](int64_t a, int64_t b) {
      return std::abs(w[static_cast<size_t>(a)]) > std::abs(w[static_cast<size_t>(b)]);
    });
    return order;
  }

  double fixed_percent() const {
    int64_t all = 0, fixed = 0;
    for (const IncrementalLayer& layer : layers_) {
      const std::vector<double> learns = layer.state.learns.value().to_vector();
      all += static_cast<int64_t>(learns.size());
      fixed += std::ranges::count(learns, 0.0);
    }
    return 100 * static_cast<double>(fixed) / static_cast<double>(all);
  }

  /// For the report: exponents counted from 1, with the sign of the weight, which fit a byte.
  WeightCodes weight_codes(const IncrementalLayer& layer) const {
    const PowerLevels levels = levels_of(layer);
    const Tensor& weight = layer.target.weight.value();
    std::vector<double> codes = weight.to_vector();
    for (double& code : codes) {
      const double level = levels.nearest(code);
      code = level == 0 ? 0 : std::copysign(std::ilogb(level) - levels.low + 1, level);
    }
    return {.reals = weight.to(Device{}),
            .codes = from_values(weight.shape(), codes, DType::i8),
            .scales = {std::ldexp(1.0, levels.low)},
            .bits = layer.bits};
  }

  /// Codes are powers of two themselves, 1 the smallest. Levels are those of the weight as it is:
  /// another method may have set some to 0 for good, or an average moved them.
  PackedWeight packed_weight(const IncrementalLayer& layer) const {
    const PowerLevels levels = levels_of(layer);
    std::vector<double> codes = layer.target.weight.value().to_vector();
    for (double& code : codes) code = std::ldexp(levels.nearest(code), -levels.low);
    return {.path = layer.target.weight.path(),
            .codes = from_values(layer.target.weight.value().shape(), codes, DType::i32),
            .scale = from_values({1}, {std::ldexp(1.0, levels.low)}),
            .scales = PackedWeight::Scales::kTensor};
  }

  QuantChoice choice_;
  int64_t bits_;
  BitOverrides overrides_;
  std::vector<double> portions_;
  bool is_random_;
  int64_t epochs_per_stage_, bn_images_;
  std::string key_, stages_key_;  // places of the recipe, for errors

  std::shared_ptr<FixedWeights> decided_;
  std::vector<IncrementalLayer> layers_;
  int64_t stage_ = 0;  // stages that are done
  RoundingReport report_;
};

const Registered<Inq> registered("inq", "arXiv:1702.03044",
                                 "weights become powers of two, a portion after the other",
                                 ResultKind::kPacked);

}  // namespace
}  // namespace vtrain
