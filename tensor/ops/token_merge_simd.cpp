#include "tensor/ops/token_merge_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

constexpr int kRows = 4, kVectors = 2;

/// The highest product of a row in every lane so far, and its column.
struct LaneBest {
  Vec value;
  IVec column;
};

/// Products of kCount rows with kVectors vectors of columns from `column` on.
template <int kCount>
void products(const float* a, const float* b, int64_t stride, int64_t width, int64_t column,
              int64_t columns, LaneBest* best) {
  Vec sums[kCount][kVectors] = {};
  for (int64_t c = 0; c < width; ++c) {
    Vec side[kVectors];
    for (int v = 0; v < kVectors; ++v) side[v] = load(b + c * stride + column + v * kLanes);
    for (int i = 0; i < kCount; ++i) {
      for (int v = 0; v < kVectors; ++v) sums[i][v] += side[v] * a[i * width + c];
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const IVec here = lane_numbers() + static_cast<int32_t>(column + v * kLanes);
    const IVec exists = here < static_cast<int32_t>(columns);
    for (int i = 0; i < kCount; ++i) {
      const IVec is_higher = (sums[i][v] > best[i].value) & exists;
      best[i].value = choose(is_higher, sums[i][v], best[i].value);
      best[i].column = is_higher ? here : best[i].column;
    }
  }
}

template <int kCount>
void best_of_rows(const float* a, const float* b, int64_t columns, int64_t stride, int64_t width,
                  float* best, int32_t* at) {
  LaneBest lanes[kCount];
  for (LaneBest& lane : lanes) lane = {splat(-__builtin_inff()), IVec{}};
  for (int64_t column = 0; column < columns; column += kVectors * kLanes)
    products<kCount>(a, b, stride, width, column, columns, lanes);
  for (int i = 0; i < kCount; ++i) {
    best[i] = lanes[i].value[0];
    at[i] = lanes[i].column[0];
    for (int lane = 1; lane < kLanes; ++lane) {
      const float value = lanes[i].value[lane];
      const int32_t column = lanes[i].column[lane];
      if (value > best[i] || (value == best[i] && column < at[i])) {
        best[i] = value;
        at[i] = column;
      }
    }
  }
}

void best_products(const float* a, int64_t rows, const float* b, int64_t columns, int64_t stride,
                   int64_t width, float* best, int32_t* at) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows)
    best_of_rows<kRows>(a + i * width, b, columns, stride, width, best + i, at + i);
  for (; i < rows; ++i) best_of_rows<1>(a + i * width, b, columns, stride, width, best + i, at + i);
}

}  // namespace

const TokenMergeSimd token_merge_simd = {best_products};

}  // namespace vtrain::VTRAIN_LEVEL
