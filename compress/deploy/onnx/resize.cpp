// Resizing of images: tensor/ops/resize2d.h says where samples lie.
#include "compress/deploy/onnx/writer.h"
#include "tensor/ops/resize2d.h"

namespace vtrain {
namespace {

constexpr double kKeys = -0.75;  // a of the bicubic kernel

/// Runtimes find the place of a sample in f32; next to a whole number that may be one too low. So
/// the nearest of other than whole factors are rows and columns chosen by number.
std::string nearest(OnnxWriter& w) {
  Shape x = w.shape(0);
  const Shape y = w.result_shape();
  x[0] = 1;
  const ResizeMaps maps = resize_maps(x, {y[2], y[3]}, {.mode = ResizeMode::kNearest});
  const auto chosen = [&w](const AxisMap& map) {
    return w.integers(std::vector<int64_t>(map.source.begin(), map.source.end()));
  };
  const std::string rows = w("Gather", {w.input(0), chosen(maps.rows)}, {{"axis", 2}});
  return w("Gather", {rows, chosen(maps.columns)}, {{"axis", 3}});
}

std::string resize2d(OnnxWriter& w) {
  const Shape x = w.shape(0), y = w.result_shape();
  std::map<std::string, OnnxAttribute> attributes;
  const auto say = [&](const char* name, const char* value) {
    attributes[name] = std::string(value);
  };
  say("coordinate_transformation_mode",
      w.integer("align_corners") != 0 ? "align_corners" : "half_pixel");
  switch (static_cast<ResizeMode>(w.integer("mode"))) {
    case ResizeMode::kNearest:
      if (y[2] % x[2] != 0 || y[3] % x[3] != 0) return nearest(w);
      say("coordinate_transformation_mode", "asymmetric");
      say("mode", "nearest");
      say("nearest_mode", "floor");
      break;
    case ResizeMode::kBilinear:
      say("mode", "linear");
      break;
    case ResizeMode::kBicubic:
      say("mode", "cubic");
      attributes["cubic_coeff_a"] = kKeys;
      break;
  }
  return w("Resize", {w.input(0), "", "", w.extents(y)}, attributes);
}

const RegisteredOnnxOp registered{"resize2d", resize2d};

}  // namespace
}  // namespace vtrain
