#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor/choices.h"
#include "tensor/cpu_level.h"
#include "tensor/onednn.h"
#include "tensor/ops/conv2d.h"
#include "tensor/ops/depthwise_simd.h"
#include "tensor/ops/matmul.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

using onednn::Convolution;
using Pass = onednn::ConvolutionPass;

Convolution convolution_of(const Shape& x, const Shape& w, const Shape& y, const Conv2dOptions& o,
                           DType dtype) {
  return {.n = x[0],
          .c_in = x[1],
          .h_in = x[2],
          .w_in = x[3],
          .c_out = y[1],
          .h_out = y[2],
          .w_out = y[3],
          .kernel_h = w[2],
          .kernel_w = w[3],
          .stride_h = o.stride.h,
          .stride_w = o.stride.w,
          .dilation_h = o.dilation.h,
          .dilation_w = o.dilation.w,
          .top = o.padding.top,
          .bottom = o.padding.bottom,
          .left = o.padding.left,
          .right = o.padding.right,
          .groups = o.groups,
          .dtype = dtype};
}

namespace reference {
/// f(y index, w index, x index) for every product of images [n, n_end) and output channels [o,
/// o_end): the plain loop, from which all three passes follow.
template <class F>
void for_each_product(const Convolution& g, int64_t n_begin, int64_t n_end, int64_t o_begin,
                      int64_t o_end, const F& f) {
  const int64_t per_group = g.c_in / g.groups, outputs = g.c_out / g.groups;
  for (int64_t n = n_begin; n < n_end; ++n) {
    for (int64_t i = 0; i < g.h_out; ++i) {
      for (int64_t j = 0; j < g.w_out; ++j) {
        for (int64_t p = 0; p < g.kernel_h; ++p) {
          const int64_t h = i * g.stride_h + p * g.dilation_h - g.top;
          if (h < 0 || h >= g.h_in) continue;
          for (int64_t q = 0; q < g.kernel_w; ++q) {
            const int64_t w = j * g.stride_w + q * g.dilation_w - g.left;
            if (w < 0 || w >= g.w_in) continue;
            const int64_t in = ((n * g.h_in + h) * g.w_in + w) * g.c_in,
                          out = ((n * g.h_out + i) * g.w_out + j) * g.c_out;
            for (int64_t o = o_begin; o < o_end; ++o) {
              for (int64_t c = 0; c < per_group; ++c) {
                f(out + o, ((o * per_group + c) * g.kernel_h + p) * g.kernel_w + q,
                  in + o / outputs * per_group + c);
              }
            }
          }
        }
      }
    }
  }
}

template <class T>
void forward(const Convolution& g, const T* x, const T* w, const T* b, T* y) {
  parallel_for(g.n, 1, [&](int64_t begin, int64_t end) {
    const int64_t image = g.h_out * g.w_out * g.c_out;
    for (int64_t i = begin * image; i < end * image; ++i) y[i] = b ? b[i % g.c_out] : T(0);
    for_each_product(g, begin, end, 0, g.c_out, [&](int64_t at_y, int64_t at_w, int64_t at_x) {
      y[at_y] += w[at_w] * x[at_x];
    });
  });
}

template <class T>
void grad_x(const Convolution& g, const T* dy, const T* w, T* dx) {
  parallel_for(g.n, 1, [&](int64_t begin, int64_t end) {
    const int64_t image = g.h_in * g.w_in * g.c_in;
    for (int64_t i = begin * image; i < end * image; ++i) dx[i] = 0;
    for_each_product(g, begin, end, 0, g.c_out, [&](int64_t at_y, int64_t at_w, int64_t at_x) {
      dx[at_x] += w[at_w] * dy[at_y];
    });
  });
}

template <class T>
void grad_w(const Convolution& g, const T* dy, const T* x, T* dw) {
  parallel_for(g.c_out, 1, [&](int64_t begin, int64_t end) {
    const int64_t filter = g.c_in / g.groups * g.kernel_h * g.kernel_w;
    for (int64_t i = begin * filter; i < end * filter; ++i) dw[i] = 0;
    for_each_product(g, 0, g.n, begin, end, [&](int64_t at_y, int64_t at_w, int64_t at_x) {
      dw[at_w] += dy[at_y] * x[at_x];
    });
  });
}
}  // namespace reference

namespace depthwise {
bool fits(const Convolution& g) {
  return g.groups == g.c_in && g.c_out == g.c_in && g.c_in > 1 &&
         g.kernel_h * g.kernel_w <= kMaxDepthwiseTaps;
}

template <class T>
const DepthwisePasses<T>& passes() {
  const DepthwiseSimd& simd = by_level(baseline::depthwise_simd, avx2::depthwise_simd,
                                       avx512::depthwise_simd, avx512_bf16::depthwise_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
}

DepthwiseShape shape_of(const Convolution& g) {
  return {.channels = g.c_in,
          .h_in = g.h_in,
          .w_in = g.w_in,
          .h_out = g.h_out,
          .w_out = g.w_out,
          .kernel_h = g.kernel_h,
          .kernel_w = g.kernel_w,
          .stride_h = g.stride_h,
          .stride_w = g.stride_w,
          .dilation_h = g.dilation_h,
          .dilation_w = g.dilation_w,
          .top = g.top,
          .left = g.left};
}

/// (taps, C) in f32, from (C, taps).
template <class T>
std::vector<float> packed(const Convolution& g, const T* w, bool is_turned) {
  const int64_t taps = g.kernel_h * g.kernel_w;
  std::vector<float> result(static_cast<size_t>(taps * g.c_in));
  for (int64_t c = 0; c < g.c_in; ++c) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t from = is_turned ? taps - 1 - t : t;
      result[static_cast<size_t>(t * g.c_in + c)] = static_cast<float>(w[c * taps + from]);
    }
  }
  return result;
}

template <class T>
void forward(const Convolution& g, const T* x, const T* w, const float* b, T* y) {
  const DepthwiseShape shape = shape_of(g);
  const std::vector<float> weights = packed(g, w, /*is_turned=*/false);
  parallel_for(g.n * g.h_out, 1, [&](int64_t begin, int64_t end) {
    passes<T>().forward(shape, x, weights.data(), b, begin, end, y);
  });
}

template <class T>
void grad_x(const Convolution& g, const T* dy, const T* w, T* dx) {
  DepthwiseShape shape = shape_of(g);
  const bool is_dense = g.stride_h == 1 && g.stride_w == 1;
  const std::vector<float> weights = packed(g, w, /*is_turned=*/is_dense);
  if (is_dense) {  // the turned kernel, run forward over dy
    std::swap(shape.h_in, shape.h_out);
    std::swap(shape.w_in, shape.w_out);
    shape.top = g.dilation_h * (g.kernel_h - 1) - g.top;
    shape.left = g.dilation_w * (g.kernel_w - 1) - g.left;
  }
  parallel_for(g.n * g.h_in, 1, [&](int64_t begin, int64_t end) {
    if (is_dense) {
      passes<T>().forward(shape, dy, weights.data(), nullptr, begin, end, dx);
    } else {
      passes<T>().grad_x(shape, dy, weights.data(), begin, end, dx);
    }
  });
}

constexpr int64_t kPixelsPerSum = 256;  // summed in f32, these sums in double

template <class T>
void grad_w(const Convolution& g, const T* dy, const T* x, float* dw) {
  const DepthwiseShape shape = shape_of(g);
  const int64_t taps = g.kernel_h * g.kernel_w, run = std::max<int64_t>(1, kPixelsPerSum / g.w_out);
  const auto threads = static_cast<size_t>(num_threads()),
             width = static_cast<size_t>(taps * g.c_in);
  std::vector<double> sums(threads * width);
  std::vector<float> parts(threads * width);
  parallel_for(g.n * g.h_out, 1, [&](int64_t begin, int64_t end, int thread) {
    double* const sum = sums.data() + static_cast<size_t>(thread) * width;
    float* const part = parts.data() + static_cast<size_t>(thread) * width;
    for (int64_t row = begin; row < end; row += run) {
      std::fill_n(part, width, 0.0F);
      passes<T>().grad_w(shape, dy, x, row, std::min(end, row + run), part);
      for (size_t i = 0; i < width; ++i) sum[i] += static_cast<double>(part[i]);
    }
  });
  for (int64_t c = 0; c < g.c_in; ++c) {
    for (int64_t t = 0; t < taps; ++t) {
      double total = 0;
      for (size_t thread = 0; thread < threads; ++thread)
        total += sums[thread * width + static_cast<size_t>(t * g.c_in + c)];
      dw[c * taps + t] = static_cast<float>(total);
    }
  }
}
}  // namespace depthwise

/// f with the pointers' type, f32 or bf16.
template <class F>
void with_type(DType dtype, const F& f) {
  if (dtype == DType::bf16) {
    f(BFloat16{});
  } else {
    f(float{});
  }
}

/// What can compute a pass.
enum class Way {
  kLibrary,    // oneDNN's convolution
  kDepthwise,  // our own kernels
  kMatmul,     // a 1x1 kernel is a product of (positions, Cin) and (Cin, Cout)
  kWidened,    // bf16 through f32, where the chip or the library is slow in bf16
};

/// A 1x1 kernel that sees every position, or every stride-th one, once.
bool is_pointwise(const Convolution& g) {
  return g.kernel_h == 1 && g.kernel_w == 1 && g.groups == 1 && g.top == 0 && g.bottom == 0 &&
         g.left == 0 && g.right == 0;
}

bool is_reference_loop(const Convolution& g, Pass pass) {
  return onednn::implementation(g, pass).find("ref") != std::string::npos;
}

/// The best without a measurement first.
std::vector<Way> ways_of(const Convolution& g, Pass pass) {
  const bool is_bf16 = g.dtype == DType::bf16;
  std::vector<Way> ways;
  if (depthwise::fits(g)) ways.push_back(Way::kDepthwise);
  if (is_bf16 && !onednn::computes_bf16()) {
    ways.push_back(Way::kWidened);
    return ways;
  }
  if (is_pointwise(g)) ways.push_back(Way::kMatmul);
  if (!is_bf16 || !is_reference_loop(g, pass)) ways.push_back(Way::kLibrary);
  // Forward the library's convolution wins by a tenth while the weight is small.
  constexpr int64_t kSmallWeight = int64_t{1} << 18;
  if (ways.size() == 2 && ways[0] == Way::kMatmul && pass == Pass::kForward &&
      g.c_in * g.c_out <= kSmallWeight) {
    std::swap(ways[0], ways[1]);
  }
  if (is_bf16) ways.push_back(Way::kWidened);
  return ways;
}

std::string key_of(const Convolution& g, Pass pass) {
  const char* const name = pass == Pass::kForward ? ""
                           : pass == Pass::kGradX ? "_grad_x"
                                                  : "_grad_w";
  const auto by = [](int64_t h, int64_t w) { return str(h, 'x', w); };
  return str("conv2d", name, ' ', name_of(g.dtype), " x", Shape{g.n, g.c_in, g.h_in, g.w_in}, " w",
             Shape{g.c_out, g.c_in / g.groups, g.kernel_h, g.kernel_w}, " stride ",
             by(g.stride_h, g.stride_w), " padding ", Shape{g.top, g.bottom, g.left, g.right},
             " dilation ", by(g.dilation_h, g.dilation_w), " groups ", g.groups, " threads ",
             num_threads());
}

/// Runs run(way) with the way that is chosen for this pass.
template <class Run>
void run_best(const Convolution& g, Pass pass, const Run& run) {
  const std::vector<Way> ways = ways_of(g, pass);
  size_t chosen = 0;
  if (ways.size() > 1) {
    chosen = static_cast<size_t>(
        Choices::of_process().pick(key_of(g, pass), static_cast<int>(ways.size()),
                                   [&](int i) { run(ways[static_cast<size_t>(i)]); }));
  }
  run(ways[chosen]);
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

/// An image's elements as they lie in memory: (N, H, W, C), every `stride`-th row and column.
Tensor pixels(const Tensor& x, Extent2d stride = 1) {
  const int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2), w = x.dim(3);
  return x.view({n, (h - 1) / stride.h + 1, (w - 1) / stride.w + 1, c},
                {h * w * c, stride.h * w * c, stride.w * c, 1}, 0);
}
/// (1, positions, C) of contiguous pixels.
Tensor rows(const Tensor& pixels) { return pixels.reshape({1, -1, pixels.dim(3)}); }
/// (1, Cout, Cin) of a 1x1 kernel.
Tensor matrix(const Tensor& w) { return w.reshape({1, w.dim(0), w.dim(1)}); }

void product(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor z) {
  matmul_kernels.on(z.device()).matmul(a, b, bias, z);
}

void forward(const Tensor& x, const Tensor& w, const Tensor& b, const Conv2dOptions& options,
             Tensor& y) {
  Convolution g = convolution_of(x.shape(), w.shape(), y.shape(), options, x.dtype());
  g.has_bias = b.defined();
  if (x.dtype() == DType::f64) {
    return reference::forward(g, x.data<double>(), w.data<double>(), data_or_null<double>(b),
                              y.data<double>());
  }
  run_best(g, Pass::kForward, [&](Way way) {
    switch (way) {
      case Way::kLibrary:
        return onednn::run_forward(g, x.raw(), w.raw(), data_or_null<float>(b), y.raw());
      case Way::kDepthwise:
        return with_type(x.dtype(), [&]<class T>(T) {
          depthwise::forward(g, x.data<T>(), w.data<T>(), data_or_null<float>(b), y.data<T>());
        });
      case Way::kMatmul:
        return product(rows(pixels(x, options.stride).contiguous()), matrix(w).transpose(1, 2), b,
                       rows(pixels(y)));
      case Way::kWidened: {
        Tensor exact = Tensor::empty_channels_last(y.shape(), DType::f32, y.device());
        forward(x.to(DType::f32), w.to(DType::f32), b, options, exact);
        return y.copy_from(exact);
      }
    }
  });
}

void grad_x(const Tensor& dy, const Tensor& w, const Conv2dOptions& options, Tensor& dx) {
  const Convolution g = convolution_of(dx.shape(), w.shape(), dy.shape(), options, dy.dtype());
  if (dy.dtype() == DType::f64) {
    return reference::grad_x(g, dy.data<double>(), w.data<double>(), dx.data<double>());
  }
  run_best(g, Pass::kGradX, [&](Way way) {
    switch (way) {
      case Way::kLibrary:
        return onednn::run_grad_x(g, dy.raw(), w.raw(), dx.raw());
      case Way::kDepthwise:
        return with_type(dy.dtype(), [&]<class T>(T) {
          depthwise::grad_x(g, dy.data<T>(), w.data<T>(), dx.data<T>());
        });
      case Way::kMatmul: {
        if (options.stride == Extent2d(1))
          return product(rows(pixels(dy)), matrix(w), {}, rows(pixels(dx)));
        Tensor seen = Tensor::empty({dy.dim(0), dy.dim(2), dy.dim(3), dx.dim(1)}, dx.dtype());
        product(rows(pixels(dy)), matrix(w), {}, rows(seen));
        pixels(dx).fill(0);
        return pixels(dx, options.stride).copy_from(seen);
      }
      case Way::kWidened: {
        Tensor exact = Tensor::empty_channels_last(dx.shape(), DType::f32, dx.device());
        grad_x(dy.to(DType::f32), w.to(DType::f32), options, exact);
        return dx.copy_from(exact);
      }
    }
  });
}

void grad_w(const Tensor& dy, const Tensor& x, const Conv2dOptions& options, Tensor& dw) {
  const Convolution g = convolution_of(x.shape(), dw.shape(), dy.shape(), options, dy.dtype());
  if (dy.dtype() == DType::f64) {
    return reference::grad_w(g, dy.data<double>(), x.data<double>(), dw.data<double>());
  }
  run_best(g, Pass::kGradW, [&](Way way) {
    switch (way) {
      case Way::kLibrary:
        return onednn::run_grad_w(g, dy.raw(), x.raw(), dw.data<float>());
      case Way::kDepthwise:
        return with_type(dy.dtype(), [&]<class T>(T) {
          depthwise::grad_w(g, dy.data<T>(), x.data<T>(), dw.data<float>());
        });
      case Way::kMatmul:
        return product(rows(pixels(dy)).transpose(1, 2),
                       rows(pixels(x, options.stride).contiguous()), {}, matrix(dw));
      case Way::kWidened:
        return grad_w(dy.to(DType::f32), x.to(DType::f32), options, dw);
    }
  });
}

const bool registered = conv2d_kernels.add(DeviceType::cpu(), {forward, grad_x, grad_w});

}  // namespace
}  // namespace vtrain
