#include <algorithm>

#include "tensor/dispatch.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/blocks.h"
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

/// Elements of bf16 or f32: one of the two pointers is set.
struct Reader {
  explicit Reader(const Tensor& x)
      : half(x.dtype() == DType::bf16 ? x.data<BFloat16>() : nullptr),
        single(half ? nullptr : x.data<float>()) {}
  const BFloat16* half;
  const float* single;

  /// `count` elements from `at`, `step` apart: where they lie, or copied into the block.
  const float* read(int64_t at, int64_t step, int64_t count, Block& block) const {
    if (step == 1 && single) return single + at;
    if (step == 1) {
      widen(half + at, block.data(), count);
    } else {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t from = at + i * step;
        block[static_cast<size_t>(i)] = single ? single[from] : static_cast<float>(half[from]);
      }
    }
    return block.data();
  }
};

/// The same in blocks of f32 where a or b is bf16.
template <class F>
void mixed_row(int64_t n, const Reader& a, int64_t at_a, int64_t a_step, const Reader& b,
               int64_t at_b, int64_t b_step, Tensor& z, int64_t at_z, const F& f) {
  Block left, right, result;
  const bool is_half = z.dtype() == DType::bf16;
  const float* y = b.read(at_b, b_step, std::min(n, kBlock), right);
  for_blocks(n, [&](int64_t first, int64_t count) {
    const float* const x = a.read(at_a + first * a_step, a_step, count, left);
    if (b_step != 0 && first > 0) y = b.read(at_b + first * b_step, b_step, count, right);
    float* const to = is_half ? result.data() : z.data<float>() + at_z + first;
    for (int64_t i = 0; i < count; ++i) to[i] = f(x[i], y[i]);
    if (is_half) narrow(to, z.data<BFloat16>() + at_z + first, count);
  });
}

template <class F>
Tensor mixed(const Tensor& a, const Tensor& b, const Shape& shape, DType dtype, const F& f) {
  const bool same_memory = a.shape() == shape && a.is_dense() &&
                           ((b.shape() == shape && a.strides() == b.strides()) || b.numel() == 1);
  Tensor z = same_memory && !a.is_contiguous()
                 ? Tensor::empty_channels_last(shape, dtype, a.device())
                 : Tensor::empty(shape, dtype, a.device());
  const Reader ra(a), rb(b);
  if (same_memory) {
    const int64_t b_step = b.shape() == shape ? 1 : 0;
    parallel_for(z.numel(), kGrain, [&](int64_t begin, int64_t end) {
      mixed_row(end - begin, ra, begin, 1, rb, b_step * begin, b_step, z, begin, f);
    });
    return z;
  }
  if (z.numel() == 0) return z;
  const Shape sa = broadcast_strides(a, shape), sb = broadcast_strides(b, shape);
  const int64_t n = shape.empty() ? 1 : shape.back(), rows = z.numel() / n;
  const int64_t a_step = shape.empty() ? 0 : sa.back(), b_step = shape.empty() ? 0 : sb.back();
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      mixed_row(n, ra, shape.empty() ? 0 : row_offset(shape, sa, r), a_step, rb,
                shape.empty() ? 0 : row_offset(shape, sb, r), b_step, z, r * n, f);
    }
  });
  return z;
}

/// f(x, y) for operands of any two of the dtypes allowed.
template <class F>
Tensor apply_with(const Tensor& a, const Tensor& b, const Shape& shape, DType dtype, const F& f) {
  if (a.dtype() == DType::bf16 || b.dtype() == DType::bf16) return mixed(a, b, shape, dtype, f);
  return dispatch_floating("binary", dtype, [&]<class T>(T) { return loop<T>(a, b, shape, f); });
}

Tensor apply(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape, DType dtype) {
  switch (op) {
    case BinaryOp::kAdd:
      return apply_with(a, b, shape, dtype, [](auto x, auto y) { return x + y; });
    case BinaryOp::kSubtract:
      return apply_with(a, b, shape, dtype, [](auto x, auto y) { return x - y; });
    case BinaryOp::kMultiply:
      return apply_with(a, b, shape, dtype, [](auto x, auto y) { return x * y; });
    case BinaryOp::kDivide:
      return apply_with(a, b, shape, dtype, [](auto x, auto y) { return x / y; });
  }
  return {};
}

void accumulate_into(Tensor& y, const Tensor& x) {
  if (!y.is_dense() || y.strides() != x.strides()) {
    y.copy_from(apply(BinaryOp::kAdd, y, x, y.shape(), y.dtype()));
    return;
  }
  dispatch_real("accumulate", y.dtype(), [&]<class T>(T) {
    T* const py = y.data<T>();
    const T* const px = x.data<T>();
    parallel_for(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      map_elements(py + begin, px + begin, py + begin, end - begin,
                   [](auto a, auto b) { return a + b; });
    });
  });
}

const bool registered = binary_kernels.add(DeviceType::cpu(), {apply, accumulate_into});

}  // namespace
}  // namespace vtrain
