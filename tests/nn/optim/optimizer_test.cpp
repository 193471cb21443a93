#include "nn/optim/optimizer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

OptimizerOptions read(const std::string& yaml) {
  Recipe recipe = Recipe::from_text("{optim: " + yaml + "}");
  OptimizerOptions options = read_optimizer(recipe.section("optim"));
  recipe.finish();
  return options;
}

/// The two parameters of the stored runs. `weight` decays, `bias` does not.
struct Bench {
  Golden golden{"optimizers"};
  Parameter weight{{3, 5}, Init::zeros()}, bias{{5}, Init::zeros()};

  Bench() {
    weight.set_path("head.weight");
    bias.set_path("head.bias");
    weight.set(golden("start.weight"));
    bias.set(golden("start.bias"));
  }
  std::vector<Parameter> parameters() const { return {weight, bias}; }
  void set_grads(int64_t step) const {
    weight.set_grad(golden("grads.weight").select(0, step).clone());
    bias.set_grad(golden("grads.bias").select(0, step).clone());
  }
  void run(Optimizer& optimizer, double lr, int64_t begin, int64_t end) const {
    for (int64_t step = begin; step < end; ++step) {
      set_grads(step);
      optimizer.step({{.name = "all", .parameters = parameters()}}, lr, 1);
    }
  }
};

TEST_CASE("optimizer: AdamW and SGD agree with torch.optim after every one of five steps") {
  const std::vector<std::pair<std::string, std::string>> runs{
      {"adamw", "{name: adamw, lr: 0.02, weight_decay: 0.1}"},
      {"adamw_betas",
       "{name: adamw, lr: 0.02, beta1: 0.7, beta2: 0.95, eps: 1e-3, weight_decay: 0}"},
      {"sgd", "{name: sgd, lr: 0.1, momentum: 0, weight_decay: 0}"},
      {"sgd_momentum", "{name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0}"},
      {"sgd_nesterov", "{name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0}"},
      {"sgd_decay", "{name: sgd, lr: 0.1, momentum: 0.8, weight_decay: 0.05}"},
      {"sgd_nesterov_decay",
       "{name: sgd, lr: 0.1, momentum: 0.8, nesterov: true, weight_decay: 0.05}"}};
  for (const auto& [name, yaml] : runs) {
    const Bench b;
    const OptimizerOptions o = read(yaml);
    for (int64_t step = 0; step < 5; ++step) {
      CAPTURE(name);
      CAPTURE(step);
      b.run(*o.optimizer, o.lr, step, step + 1);
      // f32: a few roundings of 6e-8 per step.
      CHECK(relative_error(b.weight.value(), b.golden(name + ".weight").select(0, step)) < 1e-6);
      CHECK(relative_error(b.bias.value(), b.golden(name + ".bias").select(0, step)) < 1e-6);
    }
  }
}

TEST_CASE("optimizer: state that was saved and loaded goes on bit for bit") {
  for (const std::string yaml : {"{name: adamw}", "{name: sgd}"}) {
    const Bench straight, resumed;
    const OptimizerOptions a = read(yaml), b = read(yaml), c = read(yaml);
    straight.run(*a.optimizer, 0.01, 0, 5);
    resumed.run(*b.optimizer, 0.01, 0, 2);
    c.optimizer->load_state(b.optimizer->state(), resumed.parameters(), "test");
    resumed.run(*c.optimizer, 0.01, 2, 5);
    CHECK(resumed.weight.value().to_vector() == straight.weight.value().to_vector());
    CHECK(resumed.bias.value().to_vector() == straight.bias.value().to_vector());
  }
}

TEST_CASE("optimizer: state is named by slot and path") {
  const Bench b;
  const OptimizerOptions o = read("{name: adamw}");
  b.run(*o.optimizer, 0.01, 0, 2);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : o.optimizer->state()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"exp_avg.head.bias", "exp_avg.head.weight",
                                          "exp_avg_sq.head.bias", "exp_avg_sq.head.weight",
                                          "steps.head.bias", "steps.head.weight"});
  CHECK(o.optimizer->state().at("steps.head.bias").item() == 2);
}

TEST_CASE("optimizer: state that does not fit is refused by name") {
  const Bench b;
  const OptimizerOptions o = read("{name: adamw}");
  CHECK_THROWS_WITH_AS(
      o.optimizer->load_state({{"exp_avg.tail.bias", ones({5})}}, b.parameters(), "x.safetensors"),
      "x.safetensors: optimizer state exp_avg.tail.bias belongs to no parameter", CheckpointError);
  CHECK_THROWS_WITH_AS(
      o.optimizer->load_state({{"exp_avg.head.bias", ones({4})}}, b.parameters(), "x.safetensors"),
      "x.safetensors: optimizer state exp_avg.head.bias: expected shape (5), got (4)",
      CheckpointError);
}

TEST_CASE("optimizer: frozen parameters and those without a gradient stay, bit for bit") {
  const Bench b;
  const Values weight = b.weight.value().to_vector(), bias = b.bias.value().to_vector();
  const OptimizerOptions o = read("{name: adamw}");
  b.set_grads(0);
  b.weight.freeze(true);
  b.bias.clear_grad();
  o.optimizer->step({{.name = "all", .parameters = b.parameters()}}, 0.1, 1);
  CHECK(b.weight.value().to_vector() == weight);
  CHECK(b.bias.value().to_vector() == bias);
  CHECK(o.optimizer->state().empty());
}

TEST_CASE("optimizer: a group's rate scale and decay replace the optimizer's") {
  const auto moved = [](ParameterGroup group) {
    Parameter p({1, 1}, Init::zeros());
    p.set_path("w");
    p.set(full({1, 1}, 1));
    p.set_grad(full({1, 1}, 0.5));
    group.parameters = {p};
    const OptimizerOptions o = read("{name: sgd, momentum: 0, weight_decay: 0.25}");
    o.optimizer->step({group}, 0.5, 1);
    return p.value().item();
  };
  CHECK(moved({.name = "", .parameters = {}}) == 1 - 0.5 * (0.5 + 0.25));
  CHECK(moved({.name = "", .parameters = {}, .lr_scale = 0.5}) == 1 - 0.25 * (0.5 + 0.25));
  CHECK(moved({.name = "", .parameters = {}, .weight_decay = 0}) == 1 - 0.5 * 0.5);
  CHECK(moved({.name = "", .parameters = {}, .lr_scale = 0}) == 1);
}

TEST_CASE("optimizer: the gradient scale multiplies gradients, not the decay") {
  Parameter p({1, 1}, Init::zeros());
  p.set_path("w");
  p.set(full({1, 1}, 1));
  p.set_grad(full({1, 1}, 2));
  const OptimizerOptions o = read("{name: sgd, momentum: 0, weight_decay: 0.25}");
  o.optimizer->step({{.name = "", .parameters = {p}}}, 0.5, 0.25);
  CHECK(p.value().item() == 1 - 0.5 * (0.25 * 2 + 0.25));
}

// A helper that joins when training runs already must not get the bias correction of an old one.
TEST_CASE("optimizer: AdamW corrects the bias of each parameter by that parameter's own age") {
  const auto parameter = [](const char* path) {
    Parameter p({2}, Init::zeros());
    p.set_path(path);
    p.set_grad(from_values({2}, {1, -3}));
    return p;
  };
  const Parameter early = parameter("early"), late = parameter("late"), fresh = parameter("fresh");
  const OptimizerOptions o = read("{name: adamw}"), other = read("{name: adamw}");
  for (int i = 0; i < 3; ++i) o.optimizer->step({{.name = "", .parameters = {early}}}, 0.1, 1);
  o.optimizer->step({{.name = "", .parameters = {early, late}}}, 0.1, 1);
  other.optimizer->step({{.name = "", .parameters = {fresh}}}, 0.1, 1);
  CHECK(late.value().to_vector() == fresh.value().to_vector());
}

TEST_CASE("optimizer: decay leaves out vectors, class tokens and position tables") {
  const auto undecayed = [](const Shape& shape, const char* path) {
    Parameter p(shape, Init::zeros());
    p.set_path(path);
    return is_undecayed(p);
  };
  CHECK(undecayed({4}, "norm.weight"));
  CHECK(undecayed({1, 1, 4}, "cls_token"));
  CHECK(undecayed({1, 1, 4}, "dist_token"));
  CHECK(undecayed({1, 5, 4}, "pos_embed"));
  CHECK_FALSE(undecayed({4, 4}, "head.weight"));
  CHECK_FALSE(undecayed({4, 1, 2, 2}, "patch_embed.proj.weight"));
}

TEST_CASE("optimizer: an unknown name or key is a recipe error") {
  CHECK_THROWS_AS(read("{name: adam_w}"), RecipeError);
  CHECK_THROWS_AS(read("{name: adamw, momentum: 0.9}"), RecipeError);
  CHECK_THROWS_AS(read("{name: adamw, lr: 0}"), RecipeError);
  CHECK(read("{name: sgd, clip_grad: 2}").clip_grad == 2);
  CHECK_FALSE(read("{}").clip_grad.has_value());
}

}  // namespace
}  // namespace vtrain
