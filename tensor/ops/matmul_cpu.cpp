#include <utility>

#include "tensor/onednn.h"
#include "tensor/ops/matmul.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// The plain loop, used for f64: sums run in ascending k.
template <class T>
void reference(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& z) {
  const int64_t m = a.dim(1), k = a.dim(2), n = b.dim(2);
  const Shape &sa = a.strides(), &sb = b.strides();
  const T* const pa = a.data<T>();
  const T* const pb = b.data<T>();
  T* const pz = z.data<T>();
  parallel_for(a.dim(0) * m, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* const x = pa + row / m * sa[0] + row % m * sa[1];
      const T* const y = pb + row / m * sb[0];
      T* const out = pz + row * n;
      for (int64_t j = 0; j < n; ++j) out[j] = bias.defined() ? bias.data<T>()[j] : T(0);
      for (int64_t i = 0; i < k; ++i) {
        const T factor = x[i * sa[2]];
        for (int64_t j = 0; j < n; ++j) out[j] += factor * y[i * sb[1] + j * sb[2]];
      }
    }
  });
}

/// With fewer rows than this, bringing b into the library's layout costs more than it saves.
constexpr int64_t kRowsWorthPacking = 200;

void product(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& z) {
  const Shape &sa = a.strides(), &sb = b.strides();
  onednn::Matmul matmul{.batch = a.dim(0),
                        .m = a.dim(1),
                        .k = a.dim(2),
                        .n = b.dim(2),
                        .a_batch = sa[0],
                        .a_row = sa[1],
                        .a_column = sa[2],
                        .b_batch = sb[0],
                        .b_row = sb[1],
                        .b_column = sb[2],
                        .has_bias = bias.defined(),
                        .dtype = a.dtype(),
                        .result = z.dtype()};
  const bool is_bf16 = a.dtype() == DType::bf16, reads_columns = matmul.a_column != 1;
  // A weight's gradient, dy^T x: the library is faster with the larger extent on m.
  if (is_bf16 && matmul.batch == 1 && reads_columns && !bias.defined() && matmul.n > matmul.m) {
    std::swap(matmul.m, matmul.n);
    matmul.a_row = sb[2];
    matmul.a_column = sb[1];
    matmul.b_row = sa[2];
    matmul.b_column = sa[1];
    matmul.c_row = 1;
    matmul.c_column = matmul.m;
    return onednn::run(matmul, b.raw(), a.raw(), nullptr, z.raw());
  }
  matmul.packs_b = is_bf16 && matmul.batch == 1 && !reads_columns && matmul.m >= kRowsWorthPacking;
  onednn::run(matmul, a.raw(), b.raw(), bias.defined() ? bias.data<float>() : nullptr, z.raw());
}

void run(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& z) {
  if (a.dtype() == DType::f64) return reference<double>(a, b, bias, z);
  if (a.dim(2) == 0) return z.fill(0);
  if (a.dtype() == DType::bf16 && !onednn::computes_bf16()) {
    Tensor exact = Tensor::empty(z.shape(), DType::f32, z.device());
    product(a.to(DType::f32), b.to(DType::f32), bias, exact);
    return z.copy_from(exact);
  }
  product(a, b, bias, z);
}

const bool registered = matmul_kernels.add(DeviceType::cpu(), {run});

}  // namespace
}  // namespace vtrain
