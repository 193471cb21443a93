#pragma once

#include <vector>

#include "tensor/ops/conv2d.h"
#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

struct Pool2dOptions {
  Extent2d kernel = 2;
  Extent2d stride = 0;   // 0: the kernel's own extent
  Extent2d padding = 0;  // on both sides; at most half the kernel
  /// Round the number of windows up, but leave out one that would start in the padding behind the
  /// image.
  bool ceil_mode = false;
  /// Averages divide by the positions of a window, those of the padding (which are 0) included.
  bool count_include_pad = true;
};

/// Which positions the outputs read along one axis, and by which outputs a position is read:
/// neighbours both ways, so that either pass can be shared among threads without races.
struct PoolAxis {
  int64_t in = 0, out = 0;
  std::vector<int32_t> begin = {}, end = {};   // (out): i reads [begin[i], end[i]), never empty
  std::vector<double> share = {};              // (out): 1 / what an average divides by
  std::vector<int32_t> first = {}, last = {};  // (in): p is read by outputs [first[p], last[p])
};
struct PoolWindows {
  PoolAxis rows, columns;
  int64_t taps() const;  // of the largest window
};

/// Windows over images x (N, C, H, W), as PyTorch places them:
///   sliding   H' = floor((H + 2 padding - kernel) / stride) + 1, or its ceil (see ceil_mode)
///   adaptive  output i of H' reads [floor(i H / H'), ceil((i + 1) H / H'))
/// `op` begins the message of a ShapeError.
PoolWindows sliding_windows(const char* op, const Shape& x, const Pool2dOptions& options);
PoolWindows adaptive_windows(const char* op, const Shape& x, Extent2d size);

/// y (N, C, H', W') as x, and for each output the number of the position it came from within its
/// window, in raster order: u8, or i32 where a window has more than 256 positions.
struct MaxPool {
  Tensor y, taps;
};
enum class PoolTaps { kDrop, kKeep };

/// The largest value of each window; of equal ones the first, and a NaN above all. Padding is
/// never chosen.
///   x  (N, C, H, W), f32, f64 or bf16    y, taps  channels last; taps undefined with kDrop
/// Throws ShapeError, also for an empty batch.
MaxPool max_pool(const Tensor& x, const PoolWindows& windows, PoolTaps taps);

/// dx (N, C, H, W): each dy added where its maximum came from, in ascending order of outputs.
Tensor max_pool_grad(const Tensor& dy, const Tensor& taps, const PoolWindows& windows);

/// The mean of each window. dtypes and shapes as max_pool's; bf16 is summed in f32.
Tensor average_pool(const Tensor& x, const PoolWindows& windows);
Tensor average_pool_grad(const Tensor& dy, const PoolWindows& windows);

struct PoolKernels {  // on channels-last tensors; `taps` undefined: not wanted
  void (*max)(const Tensor& x, const PoolWindows& windows, Tensor& y, Tensor& taps);
  void (*max_grad)(const Tensor& dy, const Tensor& taps, const PoolWindows& windows, Tensor& dx);
  void (*average)(const Tensor& x, const PoolWindows& windows, Tensor& y);
  void (*average_grad)(const Tensor& dy, const PoolWindows& windows, Tensor& dx);
};
inline constinit PerDevice<PoolKernels> pool_kernels{"pool"};

}  // namespace vtrain
