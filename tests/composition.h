#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vtrain {

/// Methods by phase: {{"l1_filters", "kd"}} work together in one phase, {{"ssl"}, {"kd"}} one after
/// the other, each phase from the weights of the one before.
using MethodPlan = std::vector<std::vector<std::string>>;
std::string text_of(const MethodPlan& plan);  // "l1_filters + kd", "ssl -> kd"

/// The network that methods are tried on: three convolutions, or two transformer blocks.
enum class TinyModel { kCnn, kVit };
std::string name_of(TinyModel model);

/// Knobs of a method for phases of two epochs, of one or two steps, on a tiny network, as flow
/// YAML; nullopt: the method has nothing to do on such a network and refuses it. A method's own
/// test registers them with a constant of this type.
class TinyKnobs {
 public:
  TinyKnobs(const std::string& method, std::optional<std::string> cnn,
            std::optional<std::string> vit);
};
/// Throws Error for a method whose test registers none.
std::optional<std::string> knobs_of(const std::string& method, TinyModel model);

/// Trains a plan to its end, four steps in all, from an untrained network that is also the teacher
/// where one is asked for, and checks with doctest, of the last phase, that
///   * a run stopped behind any step, or between epochs, and resumed ends in the same bits, report
///     and all,
///   * what was simulated in training is what the compact network computes (1e-5),
///   * the weights file gives a network of the same logits, bit for bit,
///   * the network can be written to ONNX and read back,
///   * a method that says so has made it smaller, or left zeros.
/// Returns the network's tensors.
std::map<std::string, std::vector<double>> check_plan(const MethodPlan& plan, TinyModel model);
/// The same without resumed runs, files and ONNX.
std::map<std::string, std::vector<double>> train_plan(const MethodPlan& plan, TinyModel model);

/// A plan of the sixteen methods of kLongKnobs (composition.cpp) trained for real: phases of two
/// epochs over 2,000 images of Fashion-MNIST from a network that was trained before, and checked as
/// check_plan does, in every phase, but for resuming at one random step of each only. For
/// `./dev test --full`.
struct LongRun {
  double top1_percent = 0;  // of 2,000 images of the test split, after the last phase
  double macs_percent = 0;  // of those of the network it began with
  double masked_compact = 0;
  int64_t resumed = 0;  // runs that were stopped and gone on with
};
LongRun train_for_long(const MethodPlan& plan, TinyModel model);
/// What the networks that they start from make of the same images.
double dense_top1_percent(TinyModel model);
/// Those with knobs for such a network.
std::vector<std::string> long_methods(TinyModel model);
std::string long_refusal_of(const MethodPlan& plan, TinyModel model);  // as refusal_of
/// Plans of three methods and more that shall work.
struct Combination {
  TinyModel model;
  MethodPlan plan;
};
const std::vector<Combination>& combinations();

/// What a whole run, report and all, prints; its pair is the last two phases.
std::string output_of(const MethodPlan& plan, TinyModel model);
/// What the dry run prints.
std::vector<std::string> dry_run_of(const MethodPlan& plan, TinyModel model);
/// What the dry run, which comes before any training, says to a plan: "" if it is accepted.
std::string refusal_of(const MethodPlan& plan, TinyModel model);

}  // namespace vtrain
