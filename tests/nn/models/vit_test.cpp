#include "nn/models/vit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "nn/graph.h"
#include "nn/hooks.h"
#include "nn/network.h"
#include "nn/optim/optimizer.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

/// The network that tests/golden/make_golden.py trains in PyTorch, with the weights it starts from.
struct Reference {
  Golden golden{"vit"};
  Vit vit{{.image_size = 12,
           .patch_size = 4,
           .channels = 2,
           .num_classes = 5,
           .dim = 24,
           .depth = 2,
           .num_heads = 3,
           .hidden_dim = 96}};

  Reference() {
    for (Parameter p : vit.parameters()) p.set(golden("start." + p.path()));
  }
  Tensor images(int64_t step) const { return golden("images").select(0, step).channels_last(); }
  Variable logits(int64_t step, bool wants_grad) {
    Pass pass;
    pass.wants_grad = wants_grad;
    return vit.outputs(Variable(images(step)), pass).logits;
  }
  Variable loss(int64_t step) {
    return mean(cross_entropy(logits(step, true), golden("targets").select(0, step)));
  }
};

TEST_CASE("vit: its parameters are those of PyTorch's model, by timm's names") {
  Reference r;
  std::vector<std::string> names;
  for (const Parameter& p : r.vit.parameters()) names.push_back(p.path());
  std::sort(names.begin(), names.end());
  CHECK(names == r.golden.below("start."));
}

// f32 through two blocks: each sum of up to 96 products rounds at 6e-8 of its size.
TEST_CASE("vit: logits and loss agree with PyTorch") {
  Reference r;
  CHECK(relative_error(r.logits(0, false).value(), r.golden("logits")) < 1e-5);
  CHECK(r.loss(0).value().item() ==
        doctest::Approx(r.golden("losses").to_vector()[0]).epsilon(1e-6));
}

// Compared with the largest gradient of the same parameter. The key part of qkv.bias has gradient 0
// (a constant added to all of a row's scores changes nothing): it is held to the q and v parts'
// size.
TEST_CASE("vit: every parameter's gradient agrees with PyTorch") {
  Reference r;
  backward(r.loss(0));
  for (const Parameter& p : r.vit.parameters()) {
    CAPTURE(p.path());
    REQUIRE(p.grad().defined());
    CHECK(relative_error(p.grad(), r.golden("grad." + p.path())) < 2e-5);
  }
}

TEST_CASE("vit: ten steps of AdamW end in PyTorch's weights") {
  Reference r;
  Recipe recipe = Recipe::from_text("{optim: {name: adamw, lr: 1e-3, weight_decay: 0.05}}");
  const OptimizerOptions o = read_optimizer(recipe.section("optim"));
  const std::vector<double> losses = r.golden("losses").to_vector();
  const std::vector<Parameter> parameters = r.vit.parameters();
  for (int64_t step = 0; step < 10; ++step) {
    const Variable loss = r.loss(step);
    // Weights differ by up to 1e-5 by then (below), which moves a loss of 2 in the fifth digit.
    CHECK(loss.value().item() == doctest::Approx(losses[static_cast<size_t>(step)]).epsilon(1e-5));
    backward(loss);
    o.optimizer->step({{.name = "all", .parameters = parameters}}, o.lr, 1);
    for (const Parameter& p : parameters) p.clear_grad();
  }
  for (const Parameter& p : parameters) {
    CAPTURE(p.path());
    const std::vector<double> a = p.value().to_vector();
    const std::vector<double> e = r.golden("trained." + p.path()).to_vector();
    const std::vector<double> start = r.golden("start." + p.path()).to_vector();
    const bool has_keys = p.path().ends_with("qkv.bias");
    double worst = 0, moved = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      // A bias of all keys changes no output. Its gradient is rounding alone, of any size relative
      // to itself, and Adam divides by that size.
      if (has_keys && i >= 24 && i < 48) continue;
      worst = std::max(worst, std::abs(a[i] - e[i]));
      moved = std::max(moved, std::abs(e[i] - start[i]));
    }
    CHECK(moved > 5e-3);  // ten steps of 1e-3
    // Adam's first steps are lr * g / |g|: an element whose gradient is 1e-5 of its parameter's
    // largest takes over that gradient's relative error, 1e-2, of a step of 1e-3.
    CHECK(worst < 1e-5);
  }
  CHECK(relative_error(r.logits(0, false).value(), r.golden("trained_logits")) < 1e-4);
}

TEST_CASE("vit: parameter counts are the published ones") {
  const std::map<std::string, int64_t> counts{
      {"deit_tiny_patch16_224", 5717416},           {"deit_small_patch16_224", 22050664},
      {"deit_base_patch16_224", 86567656},          {"vit_large_patch16_224", 304326632},
      {"deit_tiny_distilled_patch16_224", 5910800}, {"deit_small_distilled_patch16_224", 22436432},
      {"deit_base_distilled_patch16_224", 87338192}};
  for (const auto& entry : counts) {
    CAPTURE(entry.first);
    const auto& [name, count] = entry;
    const Network network({.model = name,
                           .options = {.num_classes = 1000, .channels = 3, .image_size = 224},
                           .parts = {}});
    CHECK(network.parameter_count() == count);
  }
}

// 784 pixels, 49 patches of 16, 64 wide, 4 blocks with 128 hidden: counted by hand.
TEST_CASE("vit: the smallest transformer for 28x28 images has the counts of its sizes") {
  Network network({.model = "vit_nano_patch4_28", .options = {}, .parts = {}});
  CHECK(network.parameter_count() == 139018);
  const int64_t block = 50 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 50 * 50 * 64;
  CHECK(Graph(network).macs() == 784 * 64 + 4 * block + 64 * 10);
}

// One more token in every product: 1.2610 and 4.6241 G, against 1.2537 and 4.5989 G.
TEST_CASE("vit: multiply-adds of distilled DeiT are those of one more token and one more head") {
  const std::map<std::string, double> giga_macs = {{"deit_tiny_distilled_patch16_224", 1.2610},
                                                   {"deit_small_distilled_patch16_224", 4.6241}};
  for (const auto& entry : giga_macs) {
    CAPTURE(entry.first);
    const auto& [name, macs] = entry;
    Network network({.model = name,
                     .options = {.num_classes = 1000, .channels = 3, .image_size = 224},
                     .parts = {}});
    CHECK(std::round(static_cast<double>(Graph(network).macs()) / 1e5) / 1e4 == macs);
  }
}

/// Two blocks with a distillation token, from random values.
struct Distilled {
  Vit vit{{.image_size = 12,
           .patch_size = 4,
           .channels = 2,
           .num_classes = 5,
           .dim = 24,
           .depth = 2,
           .num_heads = 3,
           .hidden_dim = 96,
           .has_dist_token = true}};

  Distilled() {
    for (Parameter p : vit.parameters()) p.set(noise(p.path(), p.value().shape()));
  }
  static Tensor noise(const std::string& name, const Shape& shape) {
    return Random(5, "", name).normal({1, numel_of(shape)}, {}).reshape(shape);
  }
  Parameter parameter(const std::string& path) const {
    for (const Parameter& p : vit.parameters()) {
      if (p.path() == path) return p;
    }
    throw Error("no parameter " + path);
  }
  Outputs run() {
    return vit.outputs(Variable(noise("images", {3, 2, 12, 12}).channels_last()), Pass{});
  }
};

// Touvron et al., arXiv:2012.12877, section 4: both heads see the images, and classify together.
TEST_CASE("vit: the logits of a distilled DeiT are the mean of its heads', which differ") {
  Distilled d;
  const Outputs o = d.run();
  const std::vector<double> both = o.logits.value().to_vector(),
                            cls = o.heads.at("cls").value().to_vector(),
                            dist = o.heads.at("dist").value().to_vector();
  for (size_t i = 0; i < both.size(); ++i)
    CHECK(both[i] == doctest::Approx((cls[i] + dist[i]) / 2).epsilon(1e-6));  // f32
  CHECK(relative_error(o.heads.at("dist").value(), o.heads.at("cls").value()) > 0.1);
}

TEST_CASE("vit: a distillation token equal to the class token, with its head, changes no logit") {
  Distilled d;
  d.parameter("dist_token").set(d.parameter("cls_token").value());
  d.parameter("head_dist.weight").set(d.parameter("head.weight").value());
  d.parameter("head_dist.bias").set(d.parameter("head.bias").value());
  Parameter positions = d.parameter("pos_embed");
  Tensor equal = positions.value().clone();
  equal.slice(1, 1, 2).copy_from(positions.value().slice(1, 0, 1));
  positions.set(equal);
  const Outputs o = d.run();
  CHECK(relative_error(o.logits.value(), o.heads.at("cls").value()) < 1e-6);
  CHECK(relative_error(o.heads.at("dist").value(), o.heads.at("cls").value()) < 1e-6);
}

// Patches are read by their positions alone.
TEST_CASE("vit: patches in another order, with their positions, give the same logits") {
  Distilled d;
  const Tensor image = Distilled::noise("images", {1, 2, 12, 12});
  Tensor moved = image.clone();  // the first row of patches and the last change places
  moved.slice(2, 0, 4).copy_from(image.slice(2, 8, 12));
  moved.slice(2, 8, 12).copy_from(image.slice(2, 0, 4));
  const auto logits = [&](const Tensor& x) {
    return d.vit.outputs(Variable(x.channels_last()), Pass{}).logits.value();
  };
  const Tensor before = logits(image);
  Parameter positions = d.parameter("pos_embed");
  const Tensor p = positions.value().clone();
  Tensor q = p.clone();
  q.slice(1, 2, 5).copy_from(p.slice(1, 8, 11));
  q.slice(1, 8, 11).copy_from(p.slice(1, 2, 5));
  CHECK(relative_error(logits(moved), before) > 1e-3);
  positions.set(q);
  CHECK(relative_error(logits(moved), before) < 1e-5);  // sums in another order
}

TEST_CASE("vit: sizes that do not divide are refused") {
  CHECK_THROWS_WITH_AS(
      Vit({.dim = 100, .num_heads = 3}),
      "attention: expected a width divisible by the number of heads, got width 100 and 3 heads",
      RecipeError);
  CHECK_THROWS_WITH_AS(Vit({.image_size = 30, .patch_size = 16}),
                       "vit: expected an image size divisible by the patch size 16, got 30",
                       RecipeError);
}

TEST_CASE("vit: images of another size or channel count are refused") {
  Reference r;
  CHECK_THROWS_WITH_AS(r.vit.outputs(Variable(zeros({1, 2, 12, 8})), Pass{}),
                       "[vit] images (1, 2, 12, 8): expected (1, 2, 12, 12)", ShapeError);
  CHECK_THROWS_WITH_AS(r.vit.outputs(Variable(zeros({1, 1, 12, 12})), Pass{}),
                       "[vit] images (1, 1, 12, 12): expected (1, 2, 12, 12)", ShapeError);
}

TEST_CASE("vit: an image's logits do not depend on the batch it is in") {
  Reference r;
  const Tensor all = r.logits(0, false).value();
  for (int64_t n = 0; n < 4; ++n) {
    const Tensor one =
        r.vit.outputs(Variable(r.images(0).slice(0, n, n + 1)), Pass{}).logits.value();
    // Products of other sizes may sum in another order.
    CHECK(relative_error(one, all.slice(0, n, n + 1)) < 1e-5);
  }
}

// At the size of real activations an eps of 1e-5 would pass the comparison with PyTorch. Here
// tokens are +-1e-3, their variance is 1e-6, so that eps 1e-6 halves what is under the root.
TEST_CASE("vit: every norm has timm's eps, 1e-6") {
  Reference r;
  for (Parameter p : r.vit.parameters()) {
    const bool is_norm_weight = p.path().find("norm") != std::string::npos && p.value().ndim() == 1;
    p.set(is_norm_weight && p.path().ends_with("weight") ? ones(p.value().shape())
                                                         : zeros(p.value().shape()));
    if (p.path() != "pos_embed") continue;
    Tensor positions = zeros(p.value().shape());
    for (int64_t c = 0; c < 24; ++c) positions.slice(2, c, c + 1).fill(c % 2 == 0 ? 1e-3 : -1e-3);
    p.set(positions);
  }
  Hooks hooks;
  std::vector<Tap> taps;
  for (const char* const norm :
       {"blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm"}) {
    taps.push_back(hooks.tap(str(norm, ".out"), "test"));
  }
  Pass pass;
  pass.hooks = &hooks;
  r.vit.outputs(Variable(r.images(0)), pass);
  for (const Tap& tap : taps) {
    for (const double y : tap.value().value().to_vector()) {
      CHECK(std::abs(y) == doctest::Approx(std::sqrt(0.5)).epsilon(1e-5));  // f32
    }
  }
}

TEST_CASE("vit: the rate of drop path rises linearly from 0 in the first block to the given one") {
  Vit vit({.image_size = 4,
           .patch_size = 4,
           .channels = 1,
           .num_classes = 2,
           .dim = 8,
           .depth = 3,
           .num_heads = 2,
           .hidden_dim = 16,
           .drop_path = 0.5});
  vit.initialise(1);
  Hooks hooks;
  std::vector<Tap> in, out;
  for (const int block : {0, 1, 2}) {
    in.push_back(hooks.tap(str("blocks.", block, ".drop_path2.in"), "test"));
    out.push_back(hooks.tap(str("blocks.", block, ".drop_path2.out"), "test"));
  }
  Pass pass;
  pass.is_training = true;
  pass.hooks = &hooks;
  vit.outputs(Variable(Random(1, "", "images").normal({64, 1, 4, 4}, {})), pass);
  const double rates[] = {0, 0.25, 0.5};
  for (size_t block = 0; block < 3; ++block) {
    CAPTURE(block);
    const std::vector<double> x = in[block].value().value().to_vector();
    const std::vector<double> y = out[block].value().value().to_vector();
    int dropped = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (y[i] == 0 && x[i] != 0) {
        ++dropped;
      } else {
        CHECK(y[i] == doctest::Approx(x[i] / (1 - rates[block])).epsilon(1e-6));  // f32
      }
    }
    CHECK((dropped > 0) == (block > 0));
  }
}

}  // namespace
}  // namespace vtrain
