#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/rms_norm.h"
#include "tensor/ops/rms_norm_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;
// dweight is summed in f32 over a block of rows; blocks, which do not depend on threads, in double.
constexpr int64_t kBlockRows = 128;

template <class T>
const RmsNormPasses<T>& simd() {
  const RmsNormSimd& all = by_level(baseline::rms_norm_simd, avx2::rms_norm_simd,
                                    avx512::rms_norm_simd, avx512_bf16::rms_norm_simd);
  if constexpr (std::is_same_v<T, float>) {
    return all.f32;
  } else {
    return all.bf16;
  }
}

namespace reference {
void forward(const double* x, const double* weight, int64_t rows, int64_t channels, double eps,
             double* y, double* rrms) {
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    double squares = 0;
    for (int64_t c = 0; c < channels; ++c) squares += x[c] * x[c];
    rrms[r] = 1 / std::sqrt(squares / static_cast<double>(channels) + eps);
    for (int64_t c = 0; c < channels; ++c) y[c] = x[c] * rrms[r] * (weight ? weight[c] : 1);
  }
}
void grad(const double* x, const double* weight, const double* rrms, const double* dy, int64_t rows,
          int64_t channels, double* dx, double* dweight) {
  for (int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
    double dot = 0;
    for (int64_t c = 0; c < channels; ++c) {
      dot += dy[c] * (weight ? weight[c] : 1) * x[c] * rrms[r];
      dweight[c] += dy[c] * x[c] * rrms[r];
    }
    const double dot_mean = dot / static_cast<double>(channels);
    for (int64_t c = 0; c < channels; ++c)
      dx[c] = rrms[r] * (dy[c] * (weight ? weight[c] : 1) - x[c] * rrms[r] * dot_mean);
  }
}
}  // namespace reference

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

RmsNormOutput forward(const Tensor& x, const Tensor& weight, double eps) {
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  RmsNormOutput result{empty_like(x), Tensor::empty({rows}, wide_of(x.dtype()), x.device())};
  dispatch_real("rms_norm", x.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T* const in = x.data<T>();
    const Wide* const w = data_or_null<Wide>(weight);
    T* const y = result.y.data<T>();
    Wide* const rrms = result.rrms.data<Wide>();
    parallel_for(
        rows, std::max<int64_t>(kGrainElements / channels, 1), [&](int64_t begin, int64_t end) {
          const int64_t at = begin * channels;
          if constexpr (std::is_same_v<T, double>) {
            reference::forward(in + at, w, end - begin, channels, eps, y + at, rrms + begin);
          } else {
            simd<T>().forward(in + at, w, end - begin, channels, static_cast<float>(eps), y + at,
                              rrms + begin);
          }
        });
  });
  return result;
}

RmsNormGrads grad(const Tensor& x, const Tensor& weight, const Tensor& rrms, const Tensor& dy) {
  const int64_t channels = x.dim(-1), rows = rrms.numel();
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  RmsNormGrads result{empty_like(x), Tensor::empty({channels}, rrms.dtype(), x.device())};
  dispatch_real("rms_norm_grad", x.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T *const in = x.data<T>(), *const slope = dy.data<T>();
    const Wide *const w = data_or_null<Wide>(weight), *const scale = rrms.data<Wide>();
    T* const dx = result.dx.data<T>();
    std::vector<Wide> parts(static_cast<size_t>(blocks * channels));
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows - first);
        const int64_t at = first * channels;
        Wide* const part = parts.data() + block * channels;
        if constexpr (std::is_same_v<T, double>) {
          reference::grad(in + at, w, scale + first, slope + at, count, channels, dx + at, part);
        } else {
          simd<T>().grad(in + at, w, scale + first, slope + at, count, channels, dx + at, part);
        }
      }
    });
    Wide* const dweight = result.dweight.data<Wide>();
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t block = 0; block < blocks; ++block)
        sum += static_cast<double>(parts[static_cast<size_t>(block * channels + c)]);
      dweight[c] = static_cast<Wide>(sum);
    }
  });
  return result;
}

const bool registered = rms_norm_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
