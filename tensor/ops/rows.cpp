#include "tensor/ops/rows.h"

#include <algorithm>

namespace vtrain {

namespace {
void check_index(const char* op, const Tensor& index, int64_t samples) {
  if (index.ndim() != 2 || index.dim(0) != samples || index.dtype() != DType::i32) {
    throw ShapeError(str('[', op, "] index: expected i32 (", samples, ", K), got ", index.text()));
  }
}
}  // namespace

Tensor gather_rows(const Tensor& x, const Tensor& index) {
  if (x.ndim() != 3) throw ShapeError(str("[gather_rows] x ", x.shape(), ": expected (N, L, C)"));
  const Tensor i = index.contiguous();
  check_index("gather_rows", i, x.dim(0));
  return rows_kernels.on(x.device()).gather(x.contiguous(), i);
}

Tensor gather_rows_grad(const Tensor& dy, const Tensor& index, int64_t rows) {
  if (dy.ndim() != 3 || dy.dim(1) != index.dim(1)) {
    throw ShapeError(str("[gather_rows_grad] dy ", dy.shape(), ": expected (N, K, C) for index ",
                         index.shape()));
  }
  return rows_kernels.on(dy.device()).gather_grad(dy.contiguous(), index.contiguous(), rows);
}

Tensor select_top(const Tensor& score, int64_t k) {
  check_real("select_top", "score", score);
  if (score.ndim() != 2)
    throw ShapeError(str("[select_top] score ", score.shape(), ": expected (N, P)"));
  if (k < 1 || k > score.dim(1))
    throw ShapeError(str("[select_top] k: expected 1..", score.dim(1), " for score ", score.shape(),
                         ", got ", k));
  return rows_kernels.on(score.device()).select_top(score.contiguous(), k);
}

Tensor lead_with(const Tensor& index, int64_t count) {
  check_index("lead_with", index, index.ndim() > 0 ? index.dim(0) : 0);
  return rows_kernels.on(index.device()).lead_with(index.contiguous(), count);
}

namespace {
bool runs_over_channels_first(const Tensor& x) {
  return x.ndim() == 4 && !x.is_contiguous() && (x.strides()[1] == 1 || x.dim(1) == 1);
}
}  // namespace

Tensor concat(const std::vector<Tensor>& parts, int dim) {
  if (parts.empty()) throw ShapeError("[concat] parts: expected at least one tensor");
  const auto axis = static_cast<size_t>(checked_dim("concat", dim, parts[0].shape()));
  Shape shape = parts[0].shape();
  shape[axis] = 0;
  for (const Tensor& part : parts) {
    Shape other = part.shape();
    if (other.size() == shape.size()) other[axis] = 0;
    Shape wanted = shape;
    wanted[axis] = 0;
    if (other != wanted)
      throw ShapeError(str("[concat] part ", part.shape(), ": expected the shape of ",
                           parts[0].shape(), " but along axis ", axis));
    check_same_dtype("concat", "part 0", parts[0], "part", part);
    shape[axis] += part.shape()[axis];
  }
  // Images, and channels of images, stay in rows of channels and are copied in them.
  const bool is_in_rows = std::all_of(parts.begin(), parts.end(), runs_over_channels_first);
  Tensor y = is_in_rows ? Tensor::empty_channels_last(shape, parts[0].dtype(), parts[0].device())
                        : Tensor::empty(shape, parts[0].dtype(), parts[0].device());
  const auto as_it_lies = [&](const Tensor& t) {
    return is_in_rows ? t.transpose(1, 2).transpose(2, 3) : t;
  };
  int64_t at = 0;
  for (const Tensor& part : parts) {
    const int64_t extent = part.shape()[axis];
    as_it_lies(y.slice(static_cast<int>(axis), at, at + extent)).copy_from(as_it_lies(part));
    at += extent;
  }
  return y;
}

Tensor patchify(const Tensor& images, int64_t patch) {
  check_real("patchify", "images", images);
  if (images.ndim() != 4)
    throw ShapeError(str("[patchify] images ", images.shape(), ": expected (N, C, H, W)"));
  if (patch < 1 || images.dim(2) % patch != 0 || images.dim(3) % patch != 0) {
    throw ShapeError(str("[patchify] images ", images.shape(),
                         ": expected height and width divisible by patch ", patch));
  }
  return rows_kernels.on(images.device()).patchify(images, patch);
}

Tensor patchify_grad(const Tensor& dy, int64_t patch, const Shape& image_shape) {
  return rows_kernels.on(dy.device()).patchify_grad(dy.contiguous(), patch, image_shape);
}

}  // namespace vtrain
