#include "autograd/resize2d.h"

#include "autograd/shape.h"

namespace vtrain {

Variable resize2d(const Variable& x, Extent2d size, const ResizeOptions& options) {
  const ResizeMaps maps = resize_maps(x.shape(), size, options);
  return Variable::from({"resize2d",
                         {{"h", static_cast<double>(size.h)},
                          {"w", static_cast<double>(size.w)},
                          {"mode", static_cast<double>(options.mode)},
                          {"align_corners", options.align_corners}}},
                        resize2d(x.value(), maps), {x}, [maps](const Tensor& dy) {
                          return Grads{resize2d(dy, maps.transposed())};
                        });
}

Variable resize_positions(const Variable& x, int64_t num_special, Extent2d from, Extent2d to,
                          const ResizeOptions& options) {
  if (x.ndim() != 3 || x.dim(0) != 1 || num_special < 0 ||
      x.dim(1) != num_special + from.h * from.w) {
    throw ShapeError(str("[resize_positions] x ", x.shape(), ": expected (1, ", num_special, " + ",
                         from.h, " * ", from.w, ", C)"));
  }
  const int64_t channels = x.dim(2);
  // (1, h w, C) is an image in channels-last order.
  const Variable grid = reshape(slice(x, 1, num_special, x.dim(1)), {1, from.h, from.w, channels});
  const Variable image = transpose(transpose(grid, 2, 3), 1, 2);
  const Variable resized = transpose(transpose(resize2d(image, to, options), 1, 2), 2, 3);
  const Variable rows = reshape(resized, {1, to.h * to.w, channels});
  return num_special == 0 ? rows : concat({slice(x, 1, 0, num_special), rows}, 1);
}

}  // namespace vtrain
