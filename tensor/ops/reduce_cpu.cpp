#include <algorithm>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/reduce_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// Sums along contiguous memory: four accumulators in a fixed order, in double.
template <class T>
double sum_run(const T* x, int64_t n) {
  const auto wide = [x](int64_t i) { return static_cast<double>(static_cast<Compute<T>>(x[i])); };
  double part[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int j = 0; j < 4; ++j) part[j] += wide(i + j);
  }
  for (; i < n; ++i) part[0] += wide(i);
  return (part[0] + part[1]) + (part[2] + part[3]);
}

/// y[c] = sum over `axis` rows of x[row * inner + c], c in [begin, end): the plain loop, in double.
void sum_columns(const double* x, double* y, int64_t axis, int64_t inner, int64_t begin,
                 int64_t end) {
  constexpr int64_t kStrip = 64;  // columns whose accumulators stay in registers and L1
  for (int64_t c = begin; c < end; c += kStrip) {
    const int64_t width = std::min(kStrip, end - c);
    double total[kStrip] = {};
    for (int64_t a = 0; a < axis; ++a) {
      const double* const row = x + a * inner + c;
      for (int64_t i = 0; i < width; ++i) total[i] += row[i];
    }
    for (int64_t i = 0; i < width; ++i) y[c + i] = total[i];
  }
}

const ReduceSimd& simd() {
  return by_level(baseline::reduce_simd, avx2::reduce_simd, avx512::reduce_simd,
                  avx512_bf16::reduce_simd);
}

void sum_columns(const float* x, float* y, int64_t axis, int64_t inner, int64_t begin,
                 int64_t end) {
  simd().sum_columns(x + begin, axis, end - begin, inner, y + begin);
}
void sum_columns(const BFloat16* x, float* y, int64_t axis, int64_t inner, int64_t begin,
                 int64_t end) {
  simd().sum_columns_bf16(x + begin, axis, end - begin, inner, y + begin);
}

/// Long columns are split among threads too, by rows: a network's first layers have few channels.
/// f32 sums of shares are rounded once more than those of one run.
Tensor sum_rows(const Tensor& x) {
  const int64_t rows = x.dim(0), columns = x.dim(1);
  const DType dtype = wide_of(x.dtype());
  Tensor y = Tensor::empty({columns}, dtype, x.device());
  if (dtype == DType::f64) {
    sum_columns(x.data<double>(), y.data<double>(), rows, columns, 0, columns);
    return y;
  }
  const auto shares = static_cast<size_t>(num_threads()), width = static_cast<size_t>(columns);
  std::vector<float> parts(shares * width);
  parallel_for(rows, std::max<int64_t>(64, 32768 / std::max<int64_t>(columns, 1)),
               [&](int64_t begin, int64_t end, int thread) {
                 float* const part = parts.data() + static_cast<size_t>(thread) * width;
                 if (x.dtype() == DType::bf16) {
                   simd().sum_columns_bf16(x.data<BFloat16>() + begin * columns, end - begin,
                                           columns, columns, part);
                 } else {
                   simd().sum_columns(x.data<float>() + begin * columns, end - begin, columns,
                                      columns, part);
                 }
               });
  float* const py = y.data<float>();
  for (size_t c = 0; c < width; ++c) {
    double total = 0;
    for (size_t t = 0; t < shares; ++t) total += static_cast<double>(parts[t * width + c]);
    py[c] = static_cast<float>(total);
  }
  return y;
}

Tensor sum_middle(const Tensor& x, int64_t outer, int64_t axis, int64_t inner) {
  Tensor y = Tensor::empty({outer, inner}, wide_of(x.dtype()), x.device());
  dispatch_real("sum", x.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T* const px = x.data<T>();
    Wide* const py = y.data<Wide>();
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(axis, 1));
    if (inner == 1) {
      parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o)
          py[o] = static_cast<Wide>(sum_run(px + o * axis, axis));
      });
    } else if (outer == 1) {
      parallel_for(inner, std::max<int64_t>(grain, 16), [&](int64_t begin, int64_t end) {
        sum_columns(px, py, axis, inner, begin, end);
      });
    } else {
      parallel_for(outer, std::max<int64_t>(1, grain / inner), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o)
          sum_columns(px + o * axis * inner, py + o * inner, axis, inner, 0, inner);
      });
    }
  });
  return y;
}

Tensor argmax(const Tensor& x) {
  const int64_t rows = x.dim(0), classes = x.dim(1);
  Tensor y = Tensor::empty({rows}, DType::i32, x.device());
  int32_t* const py = y.data<int32_t>();
  dispatch_real("argmax_rows", x.dtype(), [&]<class T>(T) {
    const T* const px = x.data<T>();
    for (int64_t n = 0; n < rows; ++n) {
      py[n] = static_cast<int32_t>(std::max_element(px + n * classes, px + (n + 1) * classes) -
                                   (px + n * classes));
    }
  });
  return y;
}

const bool registered = reduce_kernels.add(DeviceType::cpu(), {sum_middle, argmax, sum_rows});

}  // namespace
}  // namespace vtrain
