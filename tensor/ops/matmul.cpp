#include "tensor/ops/matmul.h"

#include <algorithm>

#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

/// Kernels read rows or columns with stride 1; anything else is copied.
Tensor readable(const Tensor& x) {
  const size_t last = x.shape().size() - 1;
  const bool unit = x.strides()[last] == 1 || x.strides()[last - 1] == 1;
  return unit ? x : x.contiguous();
}

/// Leading axes as one: a view where possible.
Tensor as_batch(const Tensor& x) {
  if (x.ndim() == 3) return readable(x);
  if (x.ndim() == 2) return readable(x).unsqueeze(0);
  return readable(x.reshape({-1, x.dim(-2), x.dim(-1)}));
}

Tensor as_rows(const Tensor& x) {
  return x.reshape({1, x.numel() / std::max<int64_t>(x.dim(-1), 1), x.dim(-1)});
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_real("matmul", "a", a);
  check_same_dtype("matmul", "a", a, "b", b);
  Shape leading_a = a.shape(), leading_b = b.shape();
  const bool fits = a.ndim() >= 2 && b.ndim() == a.ndim() && a.dim(-1) == b.dim(-2);
  if (fits) {
    leading_a.resize(leading_a.size() - 2);
    leading_b.resize(leading_b.size() - 2);
  }
  if (!fits || leading_a != leading_b)
    throw ShapeError(str("[matmul] b ", b.shape(), ": expected (..., K, N) for a ", a.shape()));
  Shape shape = a.shape();
  shape.back() = b.dim(-1);
  Tensor z = Tensor::empty(shape, a.dtype(), a.device());
  if (z.numel() == 0) return z;
  Tensor z3 = z.reshape({-1, z.dim(-2), z.dim(-1)});
  matmul_kernels.on(a.device()).matmul(as_batch(a), as_batch(b), Tensor(), z3);
  return z;
}

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b) {
  check_real("linear", "x", x);
  check_same_dtype("linear", "x", x, "w", w);
  if (w.ndim() != 2 || x.ndim() < 1 || x.dim(-1) != w.dim(1)) {
    throw ShapeError(str("[linear] w ", w.shape(),
                         ": expected (out, in) with in the last extent of x ", x.shape()));
  }
  if (b.defined() && b.shape() != Shape{w.dim(0)})
    throw ShapeError(str("[linear] b ", b.shape(), ": expected (out) for w ", w.shape()));
  if (b.defined() && b.dtype() != wide_of(x.dtype()))
    throw ShapeError(str("[linear] b: expected ", name_of(wide_of(x.dtype())), ", got ", b.text()));
  Shape shape = x.shape();
  shape.back() = w.dim(0);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  if (y.numel() == 0) return y;
  Tensor rows = as_rows(y);
  matmul_kernels.on(x.device())
      .matmul(as_rows(x.contiguous()), w.contiguous().transpose(0, 1).unsqueeze(0), b, rows);
  return y;
}

Tensor linear_grad_x(const Tensor& dy, const Tensor& w) {
  Shape shape = dy.shape();
  shape.back() = w.dim(1);
  Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
  Tensor rows = as_rows(dx);
  matmul_kernels.on(dy.device())
      .matmul(as_rows(dy.contiguous()), w.contiguous().unsqueeze(0), Tensor(), rows);
  return dx;
}

Tensor linear_grad_w(const Tensor& dy, const Tensor& x) {
  const Tensor dy_rows = as_rows(dy.contiguous()), x_rows = as_rows(x.contiguous());
  Tensor dw = Tensor::empty({1, dy.dim(-1), x.dim(-1)}, wide_of(dy.dtype()), dy.device());
  matmul_kernels.on(dy.device()).matmul(dy_rows.transpose(1, 2), x_rows, Tensor(), dw);
  return dw.select(0, 0);
}

Tensor linear_grad_b(const Tensor& dy) {
  const Tensor rows = as_rows(dy.contiguous());
  return dy.dtype() == DType::bf16 ? sum_rows(rows.select(0, 0)) : sum(rows, {0, 1});
}

}  // namespace vtrain
