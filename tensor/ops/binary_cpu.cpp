#include "tensor/dispatch.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/strided.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;  // elements; below that a second thread costs more than it saves

/// z[i] = f(a[i * a_step], b[i * b_step]); the common steps 0 and 1 get loops the compiler turns
/// into vectors.
template <class T, class F>
void row(int64_t n, const T* a, int64_t a_step, const T* b, int64_t b_step, T* z, const F& f) {
  if (a_step == 1 && b_step == 1) {
    for (int64_t i = 0; i < n; ++i) z[i] = f(a[i], b[i]);
  } else if (a_step == 1 && b_step == 0) {
    const T y = *b;
    for (int64_t i = 0; i < n; ++i) z[i] = f(a[i], y);
  } else {
    for (int64_t i = 0; i < n; ++i) z[i] = f(a[i * a_step], b[i * b_step]);
  }
}

template <class T, class F>
Tensor loop(const Tensor& a, const Tensor& b, const Shape& shape, const F& f) {
  const bool same_memory = a.shape() == shape && a.is_dense() &&
                           ((b.shape() == shape && a.strides() == b.strides()) || b.numel() == 1);
  Tensor z = same_memory ? empty_like(a) : Tensor::empty(shape, a.dtype(), a.device());
  const T* const pa = a.data<T>();
  const T* const pb = b.data<T>();
  T* const pz = z.data<T>();
  if (same_memory) {
    const int64_t b_step = b.shape() == shape ? 1 : 0;
    parallel_for(z.numel(), kGrain, [&](int64_t begin, int64_t end) {
      row(end - begin, pa + begin, 1, pb + b_step * begin, b_step, pz + begin, f);
    });
    return z;
  }
  if (z.numel() == 0) return z;
  const Shape sa = broadcast_strides(a, shape), sb = broadcast_strides(b, shape);
  const int64_t n = shape.empty() ? 1 : shape.back(), rows = z.numel() / n;
  const int64_t a_step = shape.empty() ? 0 : sa.back(), b_step = shape.empty() ? 0 : sb.back();
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      row(n, pa + (shape.empty() ? 0 : row_offset(shape, sa, r)), a_step,
          pb + (shape.empty() ? 0 : row_offset(shape, sb, r)), b_step, pz + r * n, f);
    }
  });
  return z;
}

Tensor apply(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape) {
  return dispatch_floating("binary", a.dtype(), [&]<class T>(T) {
    switch (op) {
      case BinaryOp::kAdd:
        return loop<T>(a, b, shape, [](T x, T y) { return x + y; });
      case BinaryOp::kSubtract:
        return loop<T>(a, b, shape, [](T x, T y) { return x - y; });
      case BinaryOp::kMultiply:
        return loop<T>(a, b, shape, [](T x, T y) { return x * y; });
      case BinaryOp::kDivide:
        return loop<T>(a, b, shape, [](T x, T y) { return x / y; });
    }
    return Tensor();
  });
}

void accumulate_into(Tensor& y, const Tensor& x) {
  if (!y.is_dense() || y.strides() != x.strides()) {
    y.copy_from(apply(BinaryOp::kAdd, y, x, y.shape()));
    return;
  }
  dispatch_floating("accumulate", y.dtype(), [&]<class T>(T) {
    T* const py = y.data<T>();
    const T* const px = x.data<T>();
    parallel_for(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) py[i] += px[i];
    });
  });
}

const bool registered = binary_kernels.add(DeviceType::cpu(), {apply, accumulate_into});

}  // namespace
}  // namespace vtrain
