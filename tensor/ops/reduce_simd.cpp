#include "tensor/ops/reduce_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

constexpr int64_t kRun =
    64;  // rows summed in f32: their rounding stays below that of one f32 result
constexpr int kVectors =
    4;  // vectors of columns at a time: enough independent sums to hide the latency of adds

/// One strip of up to kVectors * kLanes columns.
template <class T>  // float or BFloat16
void sum_strip(const T* x, int64_t rows, int64_t columns, int64_t stride, float* total) {
  double sums[kVectors * kLanes] = {};
  const bool is_full = columns == kVectors * kLanes;
  for (int64_t begin = 0; begin < rows; begin += kRun) {
    const int64_t end = begin + kRun < rows ? begin + kRun : rows;
    Vec run[kVectors] = {};
    for (int64_t r = begin; r < end; ++r) {
      const T* const row = x + r * stride;
      for (int v = 0; v < kVectors; ++v) {
        const int64_t left = columns - v * kLanes;
        if (is_full || left >= kLanes) {
          run[v] += load(row + v * kLanes);
        } else if (left > 0) {
          run[v] += load_first(row + v * kLanes, left);
        }
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      for (int i = 0; i < kLanes; ++i) sums[v * kLanes + i] += static_cast<double>(run[v][i]);
    }
  }
  for (int64_t c = 0; c < columns; ++c) total[c] = static_cast<float>(sums[c]);
}

template <class T>
void sum_columns(const T* x, int64_t rows, int64_t columns, int64_t stride, float* total) {
  constexpr int64_t kStrip = kVectors * kLanes;
  for (int64_t c = 0; c < columns; c += kStrip) {
    sum_strip(x + c, rows, columns - c < kStrip ? columns - c : kStrip, stride, total + c);
  }
}

}  // namespace

const ReduceSimd reduce_simd = {sum_columns<float>, sum_columns<BFloat16>};

}  // namespace vtrain::VTRAIN_LEVEL
