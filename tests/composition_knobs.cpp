// What each method is asked to do when methods are tried with each other. A new method adds a line.
#include "tests/composition.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

struct TinyKnobs {
  std::optional<std::string> cnn, vit;  // nullopt: refuses such a network
};

const std::string kOnBoth = "{teacher: dense}";

const std::map<std::string, TinyKnobs>& knobs() {
  static const std::map<std::string, TinyKnobs> all = {
      {"dkd", {"{teacher: dense, warmup_epochs: 2}", "{teacher: dense, warmup_epochs: 2}"}},
      {"dns", {"{c_rate: 0.5, gamma: 0.01}", "{c_rate: 0.5, gamma: 0.01}"}},
      {"dynamicvit",
       {std::nullopt,
        "{at: [1], keep_ratio: 0.5, teacher: dense, backbone_lr_scale: 1, freeze_epochs: 1}"}},
      {"fitnets",
       {"{teacher: dense, guided: features.2, hint: features.2, hint_epochs: 1, decay_from: 0}",
        "{teacher: dense, guided: blocks.0, hint: blocks.0, regressor: none, hint_epochs: 1, "
        "decay_from: 0}"}},
      {"kd", {kOnBoth, kOnBoth}},
      {"l1_filters", {"{rate: 0.4}", std::nullopt}},
      {"magnitude",
       {"{rate: 0.8, rounds: 2, retrain_epochs: 1}", "{rate: 0.8, rounds: 2, retrain_epochs: 1}"}},
      {"sfp", {"{rate: 0.3}", std::nullopt}},
      {"ssl", {"{lambda_filters: 1, lambda_channels: 1, until: 0.5}", std::nullopt}},
      {"takd", {"{teacher: large}", "{teacher: large}"}},
  };
  return all;
}

}  // namespace

std::optional<std::string> knobs_of(const std::string& method, TinyModel model) {
  const auto found = knobs().find(method);
  if (found == knobs().end())
    throw Error(str("add ", method, " to the table of tests/composition_knobs.cpp"));
  return model == TinyModel::kCnn ? found->second.cnn : found->second.vit;
}

}  // namespace vtrain
