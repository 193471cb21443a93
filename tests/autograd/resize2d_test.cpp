#include "autograd/resize2d.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "autograd/trace.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;
using Mode = ResizeMode;

const std::pair<const char*, ResizeOptions> kModes[] = {{"nearest_", {Mode::kNearest}},
                                                        {"bilinear_", {Mode::kBilinear}},
                                                        {"bicubic_", {Mode::kBicubic}}};

Tensor normal(const Shape& shape) {
  return Random(47, "", "resize2d_test").normal(shape, {}, 0, DType::f64);
}

TEST_CASE("resize2d: agrees with PyTorch in every mode, larger and smaller") {
  const Golden golden("resize2d");
  const std::pair<const char*, Extent2d> sizes[] = {
      {"larger", {7, 9}}, {"smaller", {2, 3}}, {"mixed", {1, 8}}, {"same", {4, 5}}};
  for (const auto& [mode, plain] : kModes) {
    for (const auto& [name, size] : sizes) {
      for (const bool is_aligned : {false, true}) {
        ResizeOptions options = plain;
        options.align_corners = is_aligned;
        if (is_aligned && options.mode == Mode::kNearest) continue;
        check_golden(golden, str(mode, name, is_aligned ? "_aligned" : ""), {"x"},
                     [&, size = size](const Values& v) { return resize2d(v[0], size, options); });
      }
    }
  }
}

TEST_CASE("resize2d: gradients agree with finite differences") {
  for (const auto& named : kModes) {
    CAPTURE(named.first);
    for (const Extent2d size : {Extent2d(1), Extent2d(7, 2)}) {
      const GradReport report = gradcheck(
          [&](const Variable& v) { return resize2d(v, size, named.second); }, normal({2, 2, 3, 4}));
      CHECK_MESSAGE(report.ok, report.worst);
    }
  }
}

TEST_CASE("resize_positions: special rows stay, the grid is resized as an image") {
  const Variable table(normal({1, 2 + 3 * 4, 5}));
  const ResizeOptions options{Mode::kBicubic};
  const Variable y = resize_positions(table, 2, {3, 4}, {6, 5}, options);
  CHECK(y.shape() == Shape{1, 32, 5});
  CHECK(slice(y, 1, 0, 2).value().to_vector() == slice(table, 1, 0, 2).value().to_vector());
  // Channel by channel, (h, w) images.
  const Variable image = reshape(transpose(slice(table, 1, 2, 14), 1, 2), {1, 5, 3, 4});
  const Variable resized = reshape(resize2d(image, {6, 5}, options), {1, 5, 30});
  CHECK(slice(y, 1, 2, 32).value().to_vector() == transpose(resized, 1, 2).value().to_vector());
  CHECK(resize_positions(table, 2, {3, 4}, {3, 4}, options).value().to_vector() ==
        table.value().to_vector());
  const GradReport report = gradcheck(
      [&](const Variable& v) {
        return resize_positions(v, 1, {2, 2}, {3, 1}, options);
      },
      normal({1, 5, 3}));
  CHECK_MESSAGE(report.ok, report.worst);
  CHECK_THROWS_WITH_AS(resize_positions(table, 1, {3, 4}, {6, 5}, options),
                       "[resize_positions] x (1, 14, 5): expected (1, 1 + 3 * 4, C)", ShapeError);
}

TEST_CASE("resize2d: the trace has the op with its size and mode") {
  Trace trace;
  {
    const Trace::Recording recording(trace);
    resize2d(Variable(zeros({1, 1, 2, 2})), {3, 4}, {Mode::kBicubic, true});
  }
  REQUIRE(trace.records().size() == 1);
  CHECK(trace.records()[0].op.name == "resize2d");
  const std::vector<std::pair<std::string, double>> expected = {
      {"h", 3}, {"w", 4}, {"mode", 2}, {"align_corners", 1}};
  CHECK(trace.records()[0].op.attributes == expected);
}

}  // namespace
}  // namespace vtrain
