#include "autograd/batch_norm.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"
#include "autograd/conv2d.h"
#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "tensor/device_memory.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;
using Activation = BatchNormActivation;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(17, "", "batch_norm_test").normal(shape, {}, lane, DType::f64);
}

TEST_CASE("batch_norm: agrees with PyTorch with every activation, with and without a residual") {
  const Golden golden("batch_norm");
  const std::pair<const char*, Activation> kinds[] = {
      {"none", Activation::kNone}, {"relu", Activation::kRelu}, {"relu6", Activation::kRelu6}};
  for (const auto& [name, activation] : kinds) {
    const BatchNormOptions options{.activation = activation};
    check_golden(golden, name, {"x", "weight", "bias"}, [&](const Values& v) {
      return batch_norm(v[0], v[1], v[2], {}, {}, {}, options);
    });
    check_golden(
        golden, str(name, "_residual"), {"x", "weight", "bias", "residual"},
        [&](const Values& v) { return batch_norm(v[0], v[1], v[2], v[3], {}, {}, options); });
  }
  check_golden(golden, "running", {"x", "weight", "bias"}, [&](const Values& v) {
    const DType dtype = v[0].value().dtype();
    return batch_norm(v[0], v[1], v[2], {}, golden("running.mean").to(dtype),
                      golden("running.var").to(dtype),
                      {.eps = 1e-3, .statistics = BatchNormStatistics::kRunning});
  });
}

TEST_CASE("batch_norm: gradients agree with finite differences for every combination") {
  for (const Shape& shape : {Shape{3, 2, 2, 3}, Shape{4, 3}, Shape{2, 1, 1, 1}}) {
    for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kRelu6}) {
      for (const auto statistics : {BatchNormStatistics::kBatch, BatchNormStatistics::kRunning}) {
        CAPTURE(shape_text(shape));
        CAPTURE(static_cast<int>(activation));
        const BatchNormOptions options{.statistics = statistics, .activation = activation};
        const Shape c{shape[1]};
        const bool is_running = statistics == BatchNormStatistics::kRunning;
        const Tensor mean = is_running ? normal(c, 5) : Tensor(),
                     var = is_running ? full(c, 1.7, DType::f64) : Tensor();
        const GradReport full_form = gradcheck(
            [&](const Values& v) { return batch_norm(v[0], v[1], v[2], v[3], mean, var, options); },
            {normal(shape), normal(c, 1), normal(c, 2), normal(shape, 3)});
        CHECK_MESSAGE(full_form.ok, full_form.worst);
        const GradReport bare = gradcheck(
            [&](const Variable& x) { return batch_norm(x, {}, {}, {}, mean, var, options); },
            normal(shape));
        CHECK_MESSAGE(bare.ok, bare.worst);
      }
    }
  }
}

// The fused op against what it stands for, built from sums and products.
TEST_CASE("batch_norm: is mean, variance, scale, residual and relu, one after the other") {
  const Shape shape{3, 5, 4, 2}, c{1, 5, 1, 1};
  const Variable x(normal(shape)), w(normal({5}, 1)), b(normal({5}, 2)), r(normal(shape, 3));
  const Variable centred = x - mean(x, {0, 2, 3}, true);
  const Variable scale = reshape(w, c) / sqrt(mean(square(centred), {0, 2, 3}, true) + 1e-5);
  const Variable plain = relu(centred * scale + reshape(b, c) + r);
  const Variable fused = batch_norm(x, w, b, r, {}, {}, {.activation = Activation::kRelu});
  CHECK(relative_error(fused.value(), plain.value()) < 1e-13);
}

TEST_CASE("batch_norm: in front of a convolution its output is not kept, only its input") {
  const auto noise = [](const Shape& shape, const char* stream) {
    return Random(1, "", stream).uniform(shape, {});
  };
  const Variable x = Variable::leaf(noise({4, 16, 32, 32}, "x").channels_last());
  const Variable w = Variable::leaf(noise({16, 16, 3, 3}, "w"));
  const Variable scale = Variable::leaf(noise({16}, "s")), shift = Variable::leaf(noise({16}, "b"));
  const int64_t before = memory_use(Device{}).in_use;
  const BatchNormOptions options{.activation = BatchNormActivation::kRelu};
  const auto block = [&](const Variable& v) {
    return conv2d(batch_norm(v, scale, shift, {}, {}, {}, options), w, {}, {.padding = 1});
  };
  const Variable y = block(block(block(x)));
  const int64_t kept = memory_use(Device{}).in_use - before, map = x.value().bytes();
  CHECK(kept > 2 * map);  // the two inputs in between, and y itself
  CHECK(kept < 4 * map);  // not also the three outputs of batch_norm
  backward(sum(y));
  CHECK(w.grad().defined());
}

TEST_CASE(
    "batch_norm: of a chain of residual blocks every third output is kept, with one gradient") {
  const auto noise = [](const Shape& shape, const char* stream) {
    return Random(1, "", stream).uniform(shape, {});
  };
  const Tensor start = noise({4, 16, 32, 32}, "x").channels_last();
  const Tensor weight = noise({16, 16, 1, 1}, "w"), scale = noise({16}, "s"),
               shift = noise({16}, "b");
  const BatchNormOptions options{.activation = BatchNormActivation::kRelu};
  struct Result {
    std::vector<double> weight, x;
    int64_t kept = 0;
  };
  // With `is_broken` nothing is computed again: multiplying by one gives a value of its own.
  const auto run = [&](bool is_broken) {
    const Variable x = Variable::leaf(start.clone()), w = Variable::leaf(weight.clone()),
                   s = Variable::leaf(scale.clone()), b = Variable::leaf(shift.clone());
    const int64_t before = memory_use(Device{}).in_use;
    Variable y = x;
    for (int i = 0; i < 6; ++i) {
      y = batch_norm(conv2d(y, w, {}, {}), s, b, y, {}, {}, options);
      if (is_broken) y = y * 1.0;
    }
    Result result;
    result.kept = memory_use(Device{}).in_use - before;
    backward(sum(square(y)));
    result.weight = w.grad().to_vector();
    result.x = x.grad().to_vector();
    return result;
  };
  const Result lean = run(false), plain = run(true);
  CHECK(lean.weight == plain.weight);
  CHECK(lean.x == plain.x);
  const int64_t map = start.bytes();
  // Six inputs of the norms, the outputs of blocks 3 and 6 (the latter is y), and small vectors.
  CHECK(lean.kept > 7 * map);
  CHECK(lean.kept < 9 * map);
  CHECK(plain.kept > 11 * map);
}

TEST_CASE("subsample and pad_channels: gradients agree with finite differences") {
  const GradReport every =
      gradcheck([](const Variable& x) { return subsample(x, 2); }, normal({2, 3, 5, 4}));
  CHECK_MESSAGE(every.ok, every.worst);
  const GradReport padded =
      gradcheck([](const Variable& x) { return pad_channels(x, 2, 1); }, normal({2, 3, 2, 2}));
  CHECK_MESSAGE(padded.ok, padded.worst);
  // He et al.'s option A: 16 channels become 32, the old ones in the middle.
  const Variable image(normal({1, 16, 4, 4}));
  const Variable shortcut = pad_channels(subsample(image, 2), 8, 8);
  CHECK(shortcut.shape() == Shape{1, 32, 2, 2});
  CHECK(shortcut.value().select(0, 0).select(0, 7).to_vector() == std::vector<double>(4, 0));
  CHECK(shortcut.value().select(0, 0).select(0, 24).to_vector() == std::vector<double>(4, 0));
  const std::vector<double> old = image.value().select(0, 0).select(0, 3).to_vector();
  CHECK(shortcut.value().select(0, 0).select(0, 11).to_vector() ==
        std::vector<double>{old[0], old[2], old[8], old[10]});
}

TEST_CASE("relu6: passes gradients strictly between 0 and 6 only") {
  const Variable x = Variable::leaf(from_values({6}, {-1, 0, 2, 5.5, 6, 9}));
  const Variable y = relu6(x);
  backward(sum(y));
  CHECK(y.value().to_vector() == std::vector<double>{0, 0, 2, 5.5, 6, 6});
  CHECK(x.grad().to_vector() == std::vector<double>{0, 0, 1, 1, 0, 0});
}

}  // namespace
}  // namespace vtrain
