// Every op that evaluation can record, exported and run: a runtime of others computes the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include "autograd/activation.h"
#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/batch_norm.h"
#include "autograd/conv2d.h"
#include "autograd/group_norm.h"
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
#include "autograd/tokens.h"
#include "compress/deploy/onnx.h"
#include "tensor/random.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

using Function = std::function<Variable(const Variable&)>;

/// What the network below computes from its images, a head each; set by the test at hand.
std::vector<Function>& functions_under_test() {
  static std::vector<Function> functions;
  return functions;
}

class FunctionNetwork final : public Model {
 public:
  Outputs outputs(const Variable& images, const Pass&) override {
    Outputs outputs{.logits = reshape(images, {images.dim(0), -1}), .heads = {}};
    for (const Function& f : functions_under_test())
      outputs.heads[str("function ", outputs.heads.size())] = f(images);
    return outputs;
  }
};
const RegisteredModel registered{"test_functions", "what a test of the export says", "",
                                 [](const ModelOptions&) -> std::unique_ptr<Model> {
                                   return std::make_unique<FunctionNetwork>();
                                 }};

struct InputSize {
  int64_t channels = 4, side = 8;
};

/// Exports functions of images (N, channels, side, side) together, since starting a runtime takes
/// longer than all of them; checks the file, and compares on five images, two at a time.
///
/// To 1e-5 of the largest: both compute in f32, over sums of at most some hundred terms.
void check_exported(const std::vector<Function>& functions, const InputSize& size = {}) {
  functions_under_test() = functions;
  Network network(
      {.model = "test_functions",
       .options = {.num_classes = 1, .channels = size.channels, .image_size = size.side},
       .parts = {}});
  const TemporaryFolder folder;
  const std::string path = folder / "x.onnx";
  put_file(path, onnx_bytes(onnx_of(network)));
  check_onnx(onnx_of(network), path);
  const Tensor images =
      Random(7, "", "images").normal({5, size.channels, size.side, size.side}, {});
  const OnnxReport report = compare_onnx(network, path, images, {.tolerance = 1e-5, .batch = 2});
  if (report.runtime.empty()) {
    MESSAGE("not run: ", report.why_not);
    return;
  }
  CHECK(report.images == 5);
  CHECK(report.difference <= 1e-5);
}

Variable weight(const Shape& shape, const char* name = "weight") {
  return Random(9, "", name).normal(shape, {});
}
/// (N, C, H, W) -> (N, H W, C)
Variable tokens_of(const Variable& x) {
  return reshape(transpose(transpose(x, 1, 2), 2, 3), {x.dim(0), x.dim(2) * x.dim(3), x.dim(1)});
}

TEST_CASE("onnx ops: arithmetic, with broadcasting and numbers") {
  std::vector<Function> f;
  const Variable channels = weight({4, 1, 1});
  f.push_back([=](const Variable& x) { return x + channels; });
  f.push_back([=](const Variable& x) { return channels - x; });
  f.push_back([=](const Variable& x) { return x * channels * x; });
  f.push_back([=](const Variable& x) { return channels / (square(x) + 0.5); });
  f.push_back([](const Variable& x) { return (x * 3.0 - 0.25) / 7.0; });
  f.push_back([](const Variable& x) { return exp(x) + log(square(x) + 1) - sqrt(square(x)); });
  check_exported(f);
}

TEST_CASE("onnx ops: sums and means over some axes, all axes, with and without them kept") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return sum(x, {2}); });
  f.push_back([](const Variable& x) { return sum(x, {3}, true); });
  f.push_back([](const Variable& x) { return mean(x, {-1, 1}); });
  f.push_back([](const Variable& x) { return x * sum(weight({3, 2})); });
  check_exported(f);
}

TEST_CASE("onnx ops: activations, also far from zero") {
  std::vector<Function> f;
  for (const ActivationKind kind :
       {ActivationKind::kRelu6, ActivationKind::kSigmoid, ActivationKind::kTanh,
        ActivationKind::kSilu, ActivationKind::kGeluTanh, ActivationKind::kHardSigmoid,
        ActivationKind::kHardSwish}) {
    f.push_back([kind](const Variable& x) { return activation(kind, x * 4.0); });
  }
  f.push_back([](const Variable& x) { return relu(x); });
  f.push_back([](const Variable& x) { return relu6(x * 4.0); });
  f.push_back([](const Variable& x) { return sigmoid(x); });
  f.push_back([](const Variable& x) { return leaky_relu(x, 0.2); });
  f.push_back([](const Variable& x) { return gelu(x * 3.0); });
  check_exported(f);
}

TEST_CASE("onnx ops: softmax along any axis") {
  std::vector<Function> f;
  for (const int dim : {1, 2, -1}) {
    f.push_back([dim](const Variable& x) { return softmax(x * 5.0, dim); });
    f.push_back([dim](const Variable& x) { return log_softmax(x, dim); });
  }
  check_exported(f);
}

TEST_CASE("onnx ops: convolutions with strides, uneven padding, dilation and groups") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return conv2d(x, weight({6, 4, 3, 3}), {}); });
  f.push_back([](const Variable& x) {
    return conv2d(x, weight({6, 4, 3, 2}), weight({6}, "bias"),
                  {.stride = {2, 1}, .padding = {0, 1, 2, 3}});
  });
  f.push_back([](const Variable& x) {
    return conv2d(x, weight({8, 2, 3, 3}), {}, {.padding = 2, .dilation = {2, 1}, .groups = 2});
  });
  f.push_back([](const Variable& x) {
    return conv2d(x, weight({4, 1, 3, 3}), weight({4}, "bias"), {.padding = 1, .groups = 4});
  });
  check_exported(f);
}

TEST_CASE("onnx ops: linear layers and products of matrices, patches") {
  std::vector<Function> f;
  const Variable w = weight({5, 8}), b = weight({5}, "bias");
  f.push_back([=](const Variable& x) { return linear(x, w, b); });
  f.push_back([=](const Variable& x) { return linear(x, w, {}); });
  f.push_back([](const Variable& x) {
    return linear(reshape(x, {x.dim(0), -1}), weight({3, 256}), weight({3}, "bias"));
  });
  f.push_back([](const Variable& x) {
    return linear(reshape(x, {x.dim(0), -1}), weight({3, 256}), {});
  });
  f.push_back([](const Variable& x) { return matmul(x, transpose(x, 2, 3)); });
  f.push_back([](const Variable& x) { return patchify(x, 4); });
  check_exported(f);
}

TEST_CASE("onnx ops: normalisations, with weights and without") {
  std::vector<Function> f;
  const Variable w = weight({4}), b = weight({4}, "bias"), mean = weight({4}, "mean"),
                 var = exp(weight({4}, "var"));
  const auto options = [](BatchNormActivation activation) {
    return BatchNormOptions{
        .eps = 1e-3, .statistics = BatchNormStatistics::kRunning, .activation = activation};
  };
  f.push_back([=](const Variable& x) {
    return batch_norm(x, w, b, {}, mean, var, options(BatchNormActivation::kNone));
  });
  f.push_back([=](const Variable& x) {
    return batch_norm(x, {}, {}, x, mean, var, options(BatchNormActivation::kRelu));
  });
  f.push_back([=](const Variable& x) {
    return batch_norm(x * 5.0, w, {}, {}, mean, var, options(BatchNormActivation::kRelu6));
  });
  const Variable w8 = weight({8}), b8 = weight({8}, "bias");
  f.push_back([=](const Variable& x) { return layer_norm(x, w8, b8, 1e-6); });
  f.push_back([=](const Variable& x) { return layer_norm(x, {}, {}, 1e-2); });
  f.push_back([=](const Variable& x) { return rms_norm(x, w8, 1e-5); });
  f.push_back([=](const Variable& x) { return rms_norm(x, {}, 1e-2); });
  f.push_back([=](const Variable& x) { return group_norm(x, 2, w, b, 1e-5); });
  check_exported(f);
}

TEST_CASE("onnx ops: local response normalisation over an odd and an even number of channels") {
  std::vector<Function> f;
  for (const int64_t size : {1, 3, 5, 2, 4}) {
    f.push_back([size](const Variable& x) {
      return local_response_norm(x, {.size = size, .alpha = 0.5, .beta = 0.75, .k = 1.5});
    });
  }
  check_exported(f, {.channels = 7});
}

TEST_CASE("onnx ops: pools with every rounding, padding and way to count") {
  std::vector<Function> f;
  for (const Pool2dOptions& base :
       {Pool2dOptions{.kernel = 2}, Pool2dOptions{.kernel = 3, .stride = 2, .padding = 1},
        Pool2dOptions{.kernel = {3, 2}, .stride = {2, 3}, .padding = {1, 0}},
        Pool2dOptions{.kernel = 2, .stride = 3, .padding = 1}}) {
    for (const bool ceil_mode : {false, true}) {
      for (const bool count_include_pad : {false, true}) {
        Pool2dOptions options = base;
        options.ceil_mode = ceil_mode;
        options.count_include_pad = count_include_pad;
        f.push_back([=](const Variable& x) { return max_pool2d(x, options); });
        f.push_back([=](const Variable& x) { return average_pool2d(x, options); });
      }
    }
  }
  check_exported(f);
}

TEST_CASE("onnx ops: pools to a size that divides the image, and to one that does not") {
  std::vector<Function> f;
  for (const Extent2d size : {Extent2d(1), Extent2d(4, 2), Extent2d(3, 5), Extent2d(11)}) {
    f.push_back([size](const Variable& x) { return adaptive_average_pool2d(x, size); });
    f.push_back([size](const Variable& x) { return adaptive_max_pool2d(x, size); });
  }
  check_exported(f);
}

TEST_CASE("onnx ops: resizing by every kind of map") {
  std::vector<Function> f;
  for (const Extent2d size : {Extent2d(16), Extent2d(5, 11), Extent2d(4), Extent2d(1)}) {
    for (const bool align_corners : {false, true}) {
      for (const ResizeMode mode : {ResizeMode::kBilinear, ResizeMode::kBicubic}) {
        f.push_back([=](const Variable& x) {
          return resize2d(x, size, {.mode = mode, .align_corners = align_corners});
        });
      }
    }
    f.push_back(
        [=](const Variable& x) { return resize2d(x, size, {.mode = ResizeMode::kNearest}); });
  }
  f.push_back([](const Variable& x) {
    return tokens_of(x) + resize_positions(weight({1, 16, 4}), 0, 4, 8, {});
  });
  check_exported(f);
}

TEST_CASE("onnx ops: shapes change") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return reshape(x, {x.dim(0), 2, -1, 4}); });
  f.push_back([](const Variable& x) { return transpose(x, -1, 1); });
  f.push_back([](const Variable& x) { return slice(x, 2, 3, 7); });
  f.push_back([](const Variable& x) { return select(x, 1, 2); });
  f.push_back([](const Variable& x) { return subsample(x, 3); });
  f.push_back([](const Variable& x) { return pad_channels(x, 1, 3); });
  f.push_back([](const Variable& x) { return pad(x, {{0, 0}, {1, 0}, {0, 2}, {3, 1}}, -1.5); });
  f.push_back([](const Variable& x) { return concat({x, x * 2.0, slice(x, 1, 0, 1)}, 1); });
  f.push_back([](const Variable& x) {
    return concat({expand(weight({1, 1, 4}), {x.dim(0), 2, 4}), tokens_of(x)}, 1);
  });
  f.push_back([](const Variable& x) { return split(x, {1, 3}, 1)[1] * 2.0; });
  check_exported(f);
}

TEST_CASE("onnx ops: elements change places") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return roll(x, {2, 3}, {-3, 10}); });
  f.push_back([](const Variable& x) { return roll(x, {2}, {16}); });
  f.push_back([](const Variable& x) { return flip(x, 3); });
  f.push_back([](const Variable& x) { return channel_shuffle(x, 3); });
  f.push_back([](const Variable& x) {
    const Variable rows = transpose(transpose(x, 1, 2), 2, 3);
    const Variable windows = window_partition(rows, 4);
    return window_reverse(softmax(windows, 1), 4, 8, 8);
  });
  check_exported(f, {.channels = 6});
}

TEST_CASE("onnx ops: windows may be what a network gives out") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return mean(window_partition(x, 4), {1}); });
  check_exported(f);
}

TEST_CASE("onnx ops: attention, plain, with a bias, a mask, or heads of two widths") {
  std::vector<Function> f;
  const AttentionOptions options{.num_heads = 2, .qk_dim = 3, .v_dim = 3, .scale = 0.7};
  const auto qkv = [](const Variable& x, int64_t width) {
    return linear(tokens_of(x), weight({width, 4}), {});
  };
  // Between 0 and 1, of the pixels; some tokens are hidden from others.
  const auto per_token = [](const Variable& x) { return select(tokens_of(x), 2, 0); };
  const auto mask = [=](const Variable& x) {
    return activation(ActivationKind::kHardSigmoid, per_token(x) * 4.0);
  };
  f.push_back([=](const Variable& x) { return attention(qkv(x, 18), {}, {}, options); });
  f.push_back([=](const Variable& x) { return attention(qkv(x, 18), {}, per_token(x), options); });
  f.push_back([=](const Variable& x) { return attention(qkv(x, 18), mask(x), {}, options); });
  f.push_back(
      [=](const Variable& x) { return attention(qkv(x, 18), mask(x), per_token(x), options); });
  AttentionOptions published = options;
  published.mask_eps = 1e-2;
  f.push_back([=](const Variable& x) { return attention(qkv(x, 18), mask(x), {}, published); });
  published.mask_max = MaskMax::kAll;
  f.push_back([=](const Variable& x) { return attention(qkv(x, 18), mask(x), {}, published); });
  f.push_back([=](const Variable& x) {
    return attention(qkv(x, 22), {}, {}, {.num_heads = 2, .qk_dim = 3, .v_dim = 5, .scale = 1});
  });
  check_exported(f);
}

TEST_CASE("onnx ops: a hidden key with a huge score leaves no trace") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) {
    const Variable mask = select(tokens_of(relu(x)), 2, 0);
    const Variable bias = (mask - 1.0) * -500.0;  // largest where the mask is 0
    return attention(linear(tokens_of(x), weight({12, 4}), {}), mask, bias,
                     {.num_heads = 1, .qk_dim = 4, .v_dim = 4, .scale = 0.5});
  });
  check_exported(f);
}

/// Few different values, so that there are ties.
Variable steps(const Variable& x) {
  const Variable positive = activation(ActivationKind::kHardSigmoid, x * 1e4);
  return positive + activation(ActivationKind::kHardSigmoid, (x - 1.0) * 1e4);
}

TEST_CASE("onnx ops: sorting and choosing; of equal scores the lower position comes first") {
  std::vector<Function> f;
  for (const SortOrder order : {SortOrder::kAscending, SortOrder::kDescending}) {
    f.push_back([order](const Variable& x) { return sort(x, 3, order).values; });
    f.push_back([order](const Variable& x) { return sort(steps(x), 2, order).indices; });
    f.push_back([order](const Variable& x) { return top_k(x, 3, -1, order).values; });
    f.push_back([order](const Variable& x) { return top_k(steps(x), 3, 1, order).indices; });
  }
  const auto score = [](const Variable& x) { return reshape(steps(x), {x.dim(0), -1}); };
  f.push_back([=](const Variable& x) { return select_top(score(x), 100); });
  f.push_back([=](const Variable& x) { return with_special(select_top(score(x), 5), 1); });
  f.push_back([=](const Variable& x) { return with_special(select_top(score(x), 5), 3); });
  check_exported(f);
}

TEST_CASE("onnx ops: rows and elements by index") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) {
    const Variable t = tokens_of(x);
    return gather_rows(t, select_top(select(t, 2, 1), 7));
  });
  f.push_back([](const Variable& x) {
    return index_select(x, 1, from_values({5}, {3, 0, 0, 2, 1}, DType::i32));
  });
  f.push_back(
      [](const Variable& x) { return gather(x, 3, sort(x, 3, SortOrder::kAscending).indices); });
  f.push_back([](const Variable& x) {
    return scatter(x, 2, top_k(x, 8, 2).indices, x * 2.0);  // no element twice
  });
  f.push_back([](const Variable& x) {
    // (N, 4, 3, 8) in [0, 3): several sources meet in one element.
    const Variable part = slice(x, 2, 0, 3), index = top_k(part, 3, 2).indices;
    return scatter_add(part, 3, index, slice(x, 2, 3, 6));
  });
  check_exported(f);
}

struct Codes {
  double zero_point, low, high;
};
/// What the trace has of a simulated quantization, computed with plain loops. Scales are powers of
/// two, so that division is exact and no code depends on who divides.
Variable fake_quantized(const Variable& x, const Tensor& scale, const Codes& c) {
  std::vector<double> y = x.value().to_vector();
  const std::vector<double> scales = scale.to_vector();
  const size_t slice = y.size() / static_cast<size_t>(x.dim(0));
  for (size_t i = 0; i < y.size(); ++i) {
    const double s = scales[scales.size() == 1 ? 0 : i / slice];
    const double code = std::clamp(std::nearbyint(y[i] / s) + c.zero_point, c.low, c.high);
    y[i] = s * (code - c.zero_point);
  }
  return Variable::from({"fake_quantize",
                         {{"zero_point", c.zero_point},
                          {"low", c.low},
                          {"high", c.high},
                          {"axis", scales.size() == 1 ? -1 : 0}}},
                        from_values(x.shape(), y), {x, Variable(scale)}, nullptr);
}

/// Merges r of the tokens (N, 64, 4) of images, compared by `options`, and again by the sizes that
/// come of it.
Function merged_twice(MatchOptions options) {
  return [options](const Variable& x) {
    const Variable t = tokens_of(x), to = match_tokens(t, options);
    const int64_t rows = t.dim(1) - options.r;
    const Variable once = merge_rows(t, {}, to, rows), sizes = merge_sizes({}, to, rows);
    const Variable again = match_tokens(once, options);
    return concat({merge_rows(once, sizes, again, rows - options.r),
                   reshape(merge_sizes(sizes, again, rows - options.r), {x.dim(0), -1, 1})},
                  2);
  };
}

TEST_CASE("onnx ops: tokens merge, with no, one and two special ones, and by parts of their rows") {
  std::vector<Function> f;
  f.push_back(merged_twice({.width = 4, .num_special = 1, .r = 13}));
  f.push_back(merged_twice({.begin = 1, .heads = 1, .width = 3, .num_special = 2, .r = 9}));
  f.push_back(merged_twice({.begin = 0, .heads = 2, .width = 2, .num_special = 0, .r = 16}));
  f.push_back([](const Variable& x) {  // ties everywhere: all tokens are alike
    const Variable alike = expand(mean(tokens_of(x), {1}, true), {x.dim(0), 64, 4});
    return match_tokens(alike, {.width = 4, .num_special = 1, .r = 7});
  });
  f.push_back([](const Variable& x) {  // zeros
    return match_tokens(tokens_of(relu(x - 1.5)), {.width = 4, .num_special = 1, .r = 20});
  });
  check_exported(f);
}

TEST_CASE("onnx ops: some channels") {
  check_exported({[](const Variable& x) {
    return select_channels(tokens_of(x), Variable(from_values({3}, {0, 1, 3})));
  }});
}

TEST_CASE("onnx ops: simulated quantization, signed or not, of a byte, fewer or more bits") {
  std::vector<Function> f;
  const Tensor one = from_values({1}, {1.0 / 16}), many = from_values({3}, {0.25, 1.0 / 32, 2});
  for (const Codes& c : {Codes{0, -127, 127}, Codes{0, -128, 127}, Codes{40, 0, 255},
                         Codes{3, 0, 15}, Codes{0, -8, 7}, Codes{-5, -1000, 400}}) {
    f.push_back([=](const Variable& x) { return fake_quantized(x * 8.0, one, c); });
    f.push_back([=](const Variable& x) {
      return linear(x, fake_quantized(weight({3, 8}), many, c), {});
    });
    f.push_back([=](const Variable& x) {
      return conv2d(x, fake_quantized(weight({3, 4, 3, 3}), many, c), {});
    });
  }
  check_exported(f);
}

TEST_CASE("onnx ops: casts") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return cast(cast(x, DType::f64) * 3.0, DType::f32); });
  check_exported(f);
}

TEST_CASE("onnx ops: a value that only passes through is given out") {
  std::vector<Function> f;
  f.push_back([](const Variable& x) { return roll(x, {2}, {8}); });
  f.push_back([](const Variable& x) { return roll(x, {3}, {0}) * 2.0; });
  check_exported(f);
}

TEST_CASE("onnx ops: what a network computes behind the trace's back is found; no file is left") {
  functions_under_test() = {[](const Variable& x) {
    return relu(x) + Variable(full({1}, x.value().to_vector()[0]));  // 0 in the trace
  }};
  Network network({.model = "test_functions",
                   .options = {.num_classes = 1, .channels = 2, .image_size = 4},
                   .parts = {}});
  const TemporaryFolder folder;
  put_file(folder / "x.onnx", "of before");
  const Tensor images = Random(7, "", "images").normal({3, 2, 4, 4}, {});
  try {
    const OnnxReport report = export_onnx(network, folder / "x.onnx", images);
    REQUIRE(report.runtime.empty());
    MESSAGE("not run: ", report.why_not);
  } catch (const Error& error) {
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(error.code() == ExitCode::kVerification);
    CHECK(message.starts_with(folder / "x.onnx: not written: function 0 of "));
    CHECK(message.find("the first layer that differs is /add.0, by ") != std::string::npos);
    CHECK(file_content(folder / "x.onnx") == "of before");
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
}

}  // namespace
}  // namespace vtrain
