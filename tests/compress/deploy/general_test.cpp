// Ops of autograd/ outside the zoo's usual path, put into networks as parts: the plan computes what
// the network does.
#include <doctest/doctest.h>

#include "autograd/activation.h"
#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/conv2d.h"
#include "autograd/indexing.h"
#include "autograd/linear.h"
#include "autograd/local_response_norm.h"
#include "autograd/normalize.h"
#include "autograd/pool.h"
#include "autograd/rearrange.h"
#include "autograd/resize2d.h"
#include "autograd/rms_norm.h"
#include "autograd/select_channels.h"
#include "autograd/shape.h"
#include "autograd/token_merge.h"
#include "compress/deploy/compare.h"
#include "nn/layers/activation.h"
#include "nn/layers/batch_norm.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

using ValueFunction = Variable (*)(const Variable& x);

class FunctionPart final : public Module {
 public:
  explicit FunctionPart(ValueFunction f) : f_(f) {}
  Variable forward(const Variable& x, const Pass&) override { return f_(x); }

 private:
  ValueFunction f_;
};

Network network_with(const std::string& model, const std::string& place,
                     std::shared_ptr<Module> part) {
  Network network({.model = model, .options = {}, .parts = {}});
  network.set_part(place, std::move(part));
  network.initialise(1);
  return network;
}

Tensor gray_images(int64_t count) {
  return Random(3, "", "images").normal({count, 1, 28, 28}, {}).channels_last();
}

/// `f` maps tokens (N, 50, 64), or images (N, 8, 28, 28), to the same shape.
void check_part(const std::string& model, const std::string& place, ValueFunction f) {
  Network network = network_with(model, place, std::make_shared<FunctionPart>(f));
  Plan plan(network);
  for (const int64_t batch : {1, 3}) {
    CAPTURE(batch);
    const Tensor images = gray_images(batch), expected = network.logits(images);
    CHECK(max_relative_difference(plan.run(images), expected) <= 1e-5);
  }
  // The part does something: else the network without it would give the same.
  Network bare({.model = model, .options = {}, .parts = {}});
  bare.initialise(1);
  const Tensor images = gray_images(2);
  CHECK(max_relative_difference(plan.run(images), bare.logits(images)) > 1e-3);
}
void check_tokens(ValueFunction f) { check_part("vit_nano_patch4_28", "blocks.1.in", f); }
void check_images(ValueFunction f) { check_part("resnet8_28", "layer1.0.in", f); }

TEST_CASE("plan: arithmetic and activations on their own") {
  check_tokens([](const Variable& x) { return x * Variable(full({64}, 0.7)) - x / (x * x + 1.5); });
  check_tokens([](const Variable& x) { return exp(x * 0.3) + log(square(x) + 1.0) + sqrt(x * x); });
  check_tokens([](const Variable& x) {
    return activation(ActivationKind::kSilu, x) + activation(ActivationKind::kHardSwish, x) +
           activation(ActivationKind::kHardSigmoid, x) + activation(ActivationKind::kGeluTanh, x) +
           activation(ActivationKind::kTanh, x) + leaky_relu(x, 0.2) + sigmoid(x) + relu6(x * 4.0);
  });
}

/// A number in the network: the same in every pass.
Variable weight(const Shape& shape) {
  return Variable(Random(5, "", "weight").uniform(shape, {})) * 0.1 - 0.05;
}

TEST_CASE("plan: every activation behind a product happens in its pass") {
  check_tokens([](const Variable& x) {
    const Variable w = weight({64, 64});
    const auto f = [&](ActivationKind kind) { return activation(kind, linear(x, w, {})); };
    return f(ActivationKind::kSilu) + f(ActivationKind::kHardSwish) +
           f(ActivationKind::kHardSigmoid) + f(ActivationKind::kGeluTanh) +
           f(ActivationKind::kTanh) + leaky_relu(linear(x, w, {}), 0.2) +
           sigmoid(linear(x, w, {})) + relu6(linear(x * 9.0, w, {})) + gelu(linear(x, w, {})) +
           relu(linear(x, w, {})) * x;
  });
}

TEST_CASE("plan: a residual that is read again later is added without being written over") {
  check_tokens([](const Variable& x) {
    const Variable wide = x * 2.0;
    return (linear(x, weight({64, 64}), {}) + wide) * wide;
  });
  check_images([](const Variable& x) {
    const Variable wide = x * 2.0;
    const Variable y = conv2d(x, weight({8, 8, 3, 3}), {}, {.padding = 1}) + wide;
    return relu(y) - wide;
  });
  check_images([](const Variable& x) {  // depthwise
    const Variable y = conv2d(x, weight({8, 1, 3, 3}), {}, {.padding = 1, .groups = 8}) + x;
    return relu6(y) - x;
  });
}

TEST_CASE("plan: sums, normalisation and products of values") {
  check_tokens([](const Variable& x) { return x - mean(x, {1}, true); });
  check_tokens([](const Variable& x) { return x * reshape(sum(x, {2}), {x.dim(0), 50, 1}); });
  check_tokens([](const Variable& x) { return rms_norm(x, Variable(full({64}, 2)), 1e-6) + x; });
  check_tokens([](const Variable& x) { return softmax(x, -1) * 9.0 + log_softmax(x, 1) * 0.1; });
  check_tokens(
      [](const Variable& x) { return matmul(softmax(matmul(x, transpose(x, 1, 2)), -1), x) + x; });
}

TEST_CASE("plan: tokens that move") {
  check_tokens([](const Variable& x) { return roll(x, {1, 2}, {3, -5}) + flip(x, 1); });
  check_tokens([](const Variable& x) { return sort(x, 1, SortOrder::kDescending).values; });
  check_tokens([](const Variable& x) { return sort(x, 2, SortOrder::kAscending).values; });
  check_tokens([](const Variable& x) {
    const SortedVariables best = top_k(x, 5, 1, SortOrder::kAscending);
    return scatter_add(x, 1, best.indices, gather(x, 1, best.indices) + best.values);
  });
  check_tokens([](const Variable& x) {
    return scatter(x, 1, sort(slice(x, 1, 0, 4), 1, SortOrder::kDescending).indices,
                   slice(x, 1, 7, 11));
  });
  check_tokens([](const Variable& x) {
    return index_select(x, 2, from_values({64}, std::vector<double>(64, 3), DType::i32)) * x;
  });
  check_tokens([](const Variable& x) {
    return slice(pad(x, {{0, 0}, {2, 1}, {0, 0}}, 0.5), 1, 0, 50);
  });
  check_tokens([](const Variable& x) {  // strides cannot say this one: it is copied
    return reshape(transpose(x, 1, 2), {x.dim(0), 50, 64});
  });
  check_tokens([](const Variable& x) {
    return concat({slice(x, 2, 32, 64), gelu(slice(x, 2, 0, 32))}, 2);
  });
}

TEST_CASE("plan: tokens that merge, and attention that weighs them") {
  check_tokens([](const Variable& x) {
    const Variable to = match_tokens(x, {.width = 64, .num_special = 1, .r = 20}),
                   sizes = merge_sizes({}, to, 30), t = merge_rows(x, {}, to, 30);
    const Variable again = match_tokens(t, {.width = 32, .num_special = 2, .r = 10}),
                   s = merge_sizes(sizes, again, 20), u = merge_rows(t, sizes, again, 20);
    const Variable weighed = attention(concat({u, u * 0.5, u}, 2), {}, log(s),
                                       {.num_heads = 4, .qk_dim = 16, .v_dim = 16, .scale = 0.25});
    return concat({t, weighed}, 1);
  });
}

TEST_CASE("plan: some channels, behind a layer norm and elsewhere, in order and not") {
  static const auto index = [](std::initializer_list<double> channels) {
    return Variable(from_values({static_cast<int64_t>(channels.size())}, channels));
  };
  check_tokens([](const Variable& x) {
    const Variable n = layer_norm(x, weight({64}), weight({64}), 1e-6);
    return linear(select_channels(n, index({0, 5, 6, 63})), weight({64, 4}), {}) * 100.0;
  });
  check_tokens([](const Variable& x) {  // read twice: the norm is a value of its own
    const Variable n = layer_norm(x, {}, {}, 1e-6);
    return n + linear(select_channels(n, index({7, 5})), weight({64, 2}), {}) * 100.0;
  });
  check_tokens([](const Variable& x) {
    return linear(select_channels(layer_norm(x, {}, {}, 1e-6), index({7, 5})), weight({64, 2}), {});
  });
  check_tokens([](const Variable& x) {
    return linear(select_channels(x, index({1, 3, 62})), weight({64, 3}), {}) * 100.0;
  });
}

TEST_CASE("plan: images that are pooled, resized and rearranged") {
  check_images([](const Variable& x) {
    return resize2d(average_pool2d(x, {.kernel = 2}), {28, 28}, {}) +
           max_pool2d(x, {.kernel = 3, .stride = 1, .padding = 1});
  });
  check_images([](const Variable& x) {
    return resize2d(adaptive_max_pool2d(x, 5) + adaptive_average_pool2d(x, 5), {28, 28},
                    {.mode = ResizeMode::kNearest});
  });
  check_images([](const Variable& x) { return local_response_norm(x, {.alpha = 1}) * 3.0; });
  check_images([](const Variable& x) { return channel_shuffle(x, 4); });
  check_images([](const Variable& x) {
    const Variable rows = transpose(transpose(x, 1, 2), 2, 3);  // (N, H, W, C)
    const Variable windows = window_partition(rows, 7);
    return transpose(transpose(window_reverse(softmax(windows, 1) * 30.0, 7, 28, 28), 2, 3), 1, 2);
  });
}

/// Batch norm in front of what it feeds: nothing to fold it into.
class PreActivation final : public Module {
 public:
  PreActivation() : bn_(8) {
    add("bn", bn_);
    add("act", act_);
  }
  Variable forward(const Variable& x, const Pass& pass) override {
    return act_(bn_(x, pass) + x, pass);
  }

 private:
  BatchNorm2d bn_;
  Relu act_;
};

TEST_CASE("plan: batch norm on its own, a sum and an activation are one pass") {
  Network network =
      network_with("resnet8_28", "layer2.0.bn1.in",
                   std::make_shared<FunctionPart>([](const Variable& x) { return relu(x); }));
  network.set_part("layer1.0.in", std::make_shared<PreActivation>());
  network.initialise(1);
  for (const std::string bn : {"layer1.0.in.bn", "layer2.0.bn1"}) {
    CAPTURE(bn);
    const int64_t channels = network.parameter(bn + ".weight").value().numel();
    const auto set = [&](const std::string& name, double first, double step) {
      std::vector<double> v;
      for (int64_t c = 0; c < channels; ++c) v.push_back(first + step * static_cast<double>(c));
      network.parameter(bn + name).set(from_values({channels}, v));
    };
    set(".weight", 0.5, 0.1);
    set(".bias", -0.4, 0.1);
    set(".running_mean", 0.3, -0.1);
    set(".running_var", 0.7, 0.2);
  }
  Plan plan(network);
  const std::string text = plan.describe();
  CAPTURE(text);
  CHECK(text.find("layer1.0.in.bn + layer1.0.in + layer1.0.in.act: pointwise") !=
        std::string::npos);
  const Tensor images = gray_images(3);
  CHECK(max_relative_difference(plan.run(images), network.logits(images)) <= 1e-5);
}

void check_refused(ValueFunction f, const std::string& op) {
  Network network =
      network_with("vit_nano_patch4_28", "blocks.1.in", std::make_shared<FunctionPart>(f));
  CHECK_THROWS_WITH_AS(Plan{network},
                       doctest::Contains(("deploy: layer blocks.1.in: expected ops that treat each "
                                          "image alone, got " +
                                          op)
                                             .c_str()),
                       Error);
}

TEST_CASE("plan: what mixes the images of a batch is refused, naming layer and op") {
  check_refused([](const Variable& x) { return x + slice(x, 0, 0, 1); }, "slice");
  check_refused([](const Variable& x) { return x + sum(x, {0}, true); }, "sum");
}

}  // namespace
}  // namespace vtrain
