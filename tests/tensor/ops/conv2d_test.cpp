#include "tensor/ops/conv2d.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "numeric.h"
#include "tensor/choices.h"
#include "tensor/onednn.h"
#include "tests/golden.h"

using namespace vtrain;
using namespace vtrain::testing;

namespace {

struct Case {
  const char* name;
  Shape x, w;
  Conv2dOptions options;
};

// Odd extents, channels that fill no vector, one image, one pixel, one channel.
const std::vector<Case> kCases{
    {"3x3", {2, 16, 9, 7}, {32, 16, 3, 3}, {.padding = 1}},
    {"stem", {1, 3, 13, 11}, {8, 3, 7, 7}, {.stride = 2, .padding = 3}},
    {"odd channels", {1, 5, 7, 7}, {7, 5, 3, 3}, {.stride = 2, .padding = {0, 1, 0, 1}}},
    {"1x1", {2, 24, 5, 7}, {40, 24, 1, 1}, {}},
    {"1x1 that narrows", {3, 40, 5, 7}, {9, 40, 1, 1}, {}},
    {"1x1 strided", {2, 17, 7, 5}, {33, 17, 1, 1}, {.stride = 2}},
    {"1x1 padded", {1, 3, 4, 4}, {4, 3, 1, 1}, {.padding = 1}},
    {"dilated", {1, 16, 11, 13}, {16, 16, 3, 3}, {.padding = 2, .dilation = 2}},
    {"uneven stride and dilation",
     {2, 6, 11, 13},
     {10, 6, 3, 2},
     {.stride = {2, 1}, .padding = {1, 0, 2, 1}, .dilation = {1, 3}}},
    {"grouped", {2, 32, 6, 5}, {64, 8, 3, 3}, {.padding = 1, .groups = 4}},
    {"grouped, odd", {1, 6, 6, 5}, {9, 2, 3, 3}, {.stride = 2, .groups = 3}},
    {"grouped 1x1", {2, 12, 5, 3}, {6, 4, 1, 1}, {.groups = 3}},
    {"depthwise", {2, 40, 11, 9}, {40, 1, 3, 3}, {.padding = 1, .groups = 40}},
    {"depthwise strided", {2, 35, 11, 8}, {35, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 35}},
    {"depthwise 5x5", {1, 24, 13, 6}, {24, 1, 5, 5}, {.padding = 2, .groups = 24}},
    {"depthwise 5x5 strided",
     {1, 19, 9, 14},
     {19, 1, 5, 5},
     {.stride = 2, .padding = 2, .groups = 19}},
    {"depthwise 7x7, wider than the image",
     {1, 18, 5, 6},
     {18, 1, 7, 7},
     {.padding = 3, .groups = 18}},
    {"depthwise dilated",
     {1, 20, 9, 12},
     {20, 1, 3, 3},
     {.stride = {1, 2}, .padding = {2, 1, 0, 3}, .dilation = {2, 1}, .groups = 20}},
    {"depthwise 1x1", {1, 17, 4, 5}, {17, 1, 1, 1}, {.stride = 2, .groups = 17}},
    {"depthwise with a multiplier", {2, 6, 7, 5}, {18, 1, 3, 3}, {.padding = 1, .groups = 6}},
    {"one filter", {2, 8, 6, 6}, {1, 8, 3, 3}, {}},
    {"one channel", {2, 1, 9, 9}, {6, 1, 3, 3}, {}},
    {"one pixel", {3, 16, 1, 1}, {8, 16, 1, 1}, {}},
    {"one position", {2, 4, 3, 3}, {5, 4, 3, 3}, {}},
};

struct Results {
  Tensor y, dx, dw, db;
};
Results results(const Case& c, const Tensor& x, const Tensor& w, const Tensor& b,
                const Tensor& dy) {
  return {conv2d(x, w, b, c.options), conv2d_grad_x(dy, w, x.shape(), c.options),
          conv2d_grad_w(dy, x, w.shape(), c.options), conv2d_grad_b(dy)};
}

/// Compares all passes in `dtype` with the f64 loop on the same numbers.
///
/// f32: sums of up to 400 products of size 1 in f32 add up to a few 1e-7 of their size. bf16:
/// inputs are exact, a result is rounded to 8 bits, a weight's gradient is not; where the library
/// widens nothing, sums are in f32. 2^-8 of the largest result covers y and dx.
void check_agrees(const Case& c, DType dtype) {
  CAPTURE(c.name);
  CAPTURE(name_of(dtype));
  const Tensor x = uniform(c.x, -1, 1, "x", dtype), w = uniform(c.w, -1, 1, "w", dtype),
               b = uniform({c.w[0]}, -1, 1, "b", DType::f32),
               dy = uniform(conv2d_shape(c.x, c.w, c.options), -1, 1, "dy", dtype);
  const Results fast = results(c, x, w, b, dy);
  const Results exact =
      results(c, x.to(DType::f64), w.to(DType::f64), b.to(DType::f64), dy.to(DType::f64));
  CHECK(fast.y.dtype() == dtype);
  CHECK(fast.dx.dtype() == dtype);
  CHECK(fast.dw.dtype() == DType::f32);
  CHECK(fast.db.dtype() == DType::f32);
  const double rounding = dtype == DType::bf16 ? 1.0 / 256 : 2e-6;
  CHECK(relative_error(fast.y, exact.y) < rounding);
  CHECK(relative_error(fast.dx, exact.dx) < rounding);
  CHECK(relative_error(fast.dw, exact.dw) < 2e-6);
  CHECK(relative_error(fast.db, exact.db) < 2e-6);
}

/// What the process chose, put back at the end.
class ForcedChoices {
 public:
  ForcedChoices() : before_(Choices::of_process().table()) {}
  ~ForcedChoices() {
    Choices::of_process().clear();
    Choices::of_process().add(before_);
  }
  ForcedChoices(const ForcedChoices&) = delete;
  ForcedChoices& operator=(const ForcedChoices&) = delete;

  /// Every choice there is about `f`, by letting it measure.
  template <class F>
  static Choices::Table all(const F& f) {
    Choices& choices = Choices::of_process();
    choices.clear();
    choices.set_measuring(true);
    f();
    choices.set_measuring(false);
    return choices.table();
  }
  static void set_all(Choices::Table table, int index) {
    for (auto& [key, chosen] : table) chosen = index;
    Choices::of_process().clear();
    Choices::of_process().add(table);
  }

 private:
  Choices::Table before_;
};

}  // namespace

TEST_CASE("conv2d: every implementation agrees with the f64 reference in f32 and bf16") {
  const ForcedChoices restored;
  for (const Case& c : kCases) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Choices::Table table = ForcedChoices::all([&] { check_agrees(c, dtype); });
      const int ways = dtype == DType::f32 ? 2 : 3;  // at most; one that a pass lacks is answered 0
      for (int i = 0; i < ways; ++i) {
        CAPTURE(i);
        ForcedChoices::set_all(table, i);
        check_agrees(c, dtype);
      }
    }
  }
}

TEST_CASE("conv2d: the same at every instruction level that the machine has") {
  if (std::getenv("VTRAIN_CPU_LEVEL") != nullptr) return;  // this is such a run
  const std::string self = VTRAIN_BINARY_DIR "/vtrain_tests";
  int levels = 0;
  for (const std::string level : {"baseline", "avx2", "avx512", "avx512_bf16", "amx"}) {
    CAPTURE(level);
    const std::string command = "VTRAIN_CPU_LEVEL=" + level + ' ' + self +
                                " -tc='conv2d: every implementation*' > /dev/null 2>&1";
    const std::string probe = "VTRAIN_CPU_LEVEL=" + level + ' ' + self +
                              " -tc='conv2d: the level is one*' > /dev/null 2>&1";
    if (std::system(probe.c_str()) != 0) {
      MESSAGE("skipped: this machine lacks ", level);
      continue;
    }
    CHECK(std::system(command.c_str()) == 0);
    ++levels;
  }
  CHECK(levels > 0);  // every machine has the baseline
}

TEST_CASE("conv2d: the level is one that the machine has") { CHECK(!onednn::version().empty()); }

TEST_CASE("conv2d: worked by hand") {
  // x = 1 2 3 / 4 5 6 / 7 8 9, w = 1 0 / 0 2: x[i, j] + 2 x[i + 1, j + 1].
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = from_values({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, dtype);
    const Tensor w = from_values({1, 1, 2, 2}, {1, 0, 0, 2}, dtype);
    const Tensor b = from_values({1}, {100}, dtype == DType::f64 ? dtype : DType::f32);
    CHECK(conv2d(x, w, b).to_vector() == std::vector<double>{111, 114, 120, 123});
    CHECK(conv2d(x, w, {}, {.stride = 2}).to_vector() == std::vector<double>{11});
    // Zeros above and before: 2 x[0, 0], 2 x[0, 2]; 2 x[2, 0], x[1, 1] + 2 x[2, 2].
    CHECK(conv2d(x, w, {}, {.stride = 2, .padding = {1, 0, 1, 0}}).to_vector() ==
          std::vector<double>{2, 6, 14, 23});
  }
}

TEST_CASE("conv2d: an image in any memory order and a strided weight are read rightly") {
  const Tensor x = uniform({2, 4, 5, 6}, -1, 1, "x", DType::f32),
               w = uniform({3, 4, 3, 3}, -1, 1, "w", DType::f32);
  const Tensor y = conv2d(x.channels_last(), w, {});
  CHECK(y.is_channels_last());
  CHECK(max_difference(conv2d(x, w, {}), y) == 0);
  const Tensor turned = x.transpose(2, 3).contiguous().transpose(2, 3);
  CHECK(max_difference(conv2d(turned, w, {}), y) == 0);
  const Tensor wide = uniform({2, 4, 5, 9}, -1, 1, "wide", DType::f32);
  CHECK(max_difference(conv2d(wide.slice(3, 2, 8), w, {}),
                       conv2d(wide.slice(3, 2, 8).contiguous(), w, {})) == 0);
  const Tensor w_turned = w.transpose(0, 1).contiguous().transpose(0, 1);
  CHECK(max_difference(conv2d(x, w_turned, {}), y) == 0);
  const Tensor dy = uniform(y.shape(), -1, 1, "dy", DType::f32);
  CHECK(max_difference(conv2d_grad_x(dy, w_turned, x.shape()),
                       conv2d_grad_x(dy.channels_last(), w, x.shape())) == 0);
  CHECK(max_difference(conv2d_grad_w(dy, turned, w.shape()),
                       conv2d_grad_w(dy.channels_last(), x, w.shape())) == 0);
  CHECK(max_difference(conv2d_grad_b(dy), conv2d_grad_b(dy.channels_last())) == 0);
}

TEST_CASE("conv2d: results are the same bits every time") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor x = uniform(c.x, -1, 1, "x", dtype), w = uniform(c.w, -1, 1, "w", dtype),
                   dy = uniform(conv2d_shape(c.x, c.w, c.options), -1, 1, "dy", dtype);
      const Results first = results(c, x, w, {}, dy), second = results(c, x, w, {}, dy);
      CHECK(max_difference(first.y, second.y) == 0);
      CHECK(max_difference(first.dx, second.dx) == 0);
      CHECK(max_difference(first.dw, second.dw) == 0);
      CHECK(max_difference(first.db, second.db) == 0);
    }
  }
}

TEST_CASE("conv2d: wrong arguments are named") {
  const Tensor x = zeros({8, 64, 56, 56}), w = zeros({64, 32, 3, 3});
  CHECK_THROWS_WITH_AS(conv2d(x, w, {}),
                       "[conv2d] w (64, 32, 3, 3): expected 64 input channels for x (8, 64, 56, "
                       "56) with groups 1, got 32",
                       ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({0, 3, 4, 4}), zeros({2, 3, 1, 1}), {}),
                       "[conv2d] x (0, 3, 4, 4): the batch is empty", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({3, 4, 4}), zeros({2, 3, 1, 1}), {}),
                       "[conv2d] x (3, 4, 4): expected (N, C, H, W)", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 4, 4, 4}), zeros({3, 2, 1, 1}), {}, {.groups = 2}),
                       "[conv2d] w (3, 2, 1, 1): expected a multiple of 2 output channels",
                       ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 1, 2, 5}), zeros({1, 1, 3, 3}), {}),
                       "[conv2d] x (1, 1, 2, 5): is smaller, padding included, than w (1, 1, 3, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 1, 3, 3}), zeros({2, 1, 3, 3}), zeros({3})),
                       "[conv2d] b (3): expected (Cout) for w (2, 1, 3, 3)", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 1, 3, 3}, DType::bf16), zeros({2, 1, 3, 3}, DType::bf16),
                              zeros({2}, DType::bf16)),
                       "[conv2d] b: expected f32, got bf16 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 1, 3, 3}), zeros({2, 1, 3, 3}, DType::f64), {}),
                       "[conv2d] w: expected f32 like x, got f64 (2, 1, 3, 3) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(zeros({1, 1, 3, 3}), zeros({2, 1, 3, 3}), {}, {.stride = 0}),
                       "[conv2d] options: expected stride, dilation and groups of at least 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(conv2d_grad_x(zeros({1, 2, 3, 3}), zeros({2, 1, 3, 3}), {1, 1, 3, 3}),
                       "[conv2d_grad_x] dy (1, 2, 3, 3): expected (1, 2, 1, 1)", ShapeError);
  CHECK_THROWS_WITH_AS(conv2d_grad_w(zeros({1, 2, 3, 3}), zeros({1, 1, 3, 3}), {2, 1, 3, 3}),
                       "[conv2d_grad_w] dy (1, 2, 3, 3): expected (1, 2, 1, 1)", ShapeError);
}

TEST_CASE("conv2d: the shapes of common networks run no reference loop of oneDNN") {
  using onednn::ConvolutionPass;
  const auto of = [](int64_t c_in, int64_t c_out, int64_t extent, int64_t kernel, int64_t stride,
                     int64_t groups, DType dtype) {
    const int64_t out = (extent + 2 * (kernel / 2) - kernel) / stride + 1;
    return onednn::Convolution{.n = 4,
                               .c_in = c_in,
                               .h_in = extent,
                               .w_in = extent,
                               .c_out = c_out,
                               .h_out = out,
                               .w_out = out,
                               .kernel_h = kernel,
                               .kernel_w = kernel,
                               .stride_h = stride,
                               .stride_w = stride,
                               .top = kernel / 2,
                               .bottom = kernel / 2,
                               .left = kernel / 2,
                               .right = kernel / 2,
                               .groups = groups,
                               .dtype = dtype};
  };
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (dtype == DType::bf16 && !onednn::computes_bf16()) continue;
    for (const ConvolutionPass pass :
         {ConvolutionPass::kForward, ConvolutionPass::kGradX, ConvolutionPass::kGradW}) {
      for (const auto& c : {of(3, 64, 32, 7, 2, 1, dtype), of(64, 64, 14, 3, 1, 1, dtype),
                            of(64, 128, 14, 3, 2, 1, dtype), of(64, 256, 14, 1, 1, 1, dtype),
                            of(64, 128, 14, 1, 2, 1, dtype), of(16, 16, 32, 3, 1, 1, dtype),
                            of(3, 16, 32, 3, 1, 1, dtype), of(1, 8, 28, 3, 1, 1, dtype),
                            of(24, 144, 14, 1, 1, 1, dtype), of(256, 256, 14, 3, 1, 32, dtype)}) {
        const std::string name = onednn::implementation(c, pass);
        CAPTURE(c.c_in);
        CAPTURE(c.c_out);
        CAPTURE(c.kernel_h);
        CAPTURE(static_cast<int>(pass));
        CHECK_MESSAGE(name.find("ref") == std::string::npos, name);
      }
    }
  }
}
