#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/dispatch.h"
#include "tensor/ops/rows.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

void check_range(const char* op, const Tensor& index, int64_t rows) {
  const int32_t* const p = index.data<int32_t>();
  for (int64_t i = 0; i < index.numel(); ++i) {
    if (p[i] < 0 || p[i] >= rows)
      throw ShapeError(str('[', op, "] index: expected entries in 0..", rows - 1, ", got ", p[i]));
  }
}

Tensor gather(const Tensor& x, const Tensor& index) {
  const int64_t samples = x.dim(0), rows = x.dim(1), kept = index.dim(1);
  check_range("gather_rows", index, rows);
  Tensor y = Tensor::empty({samples, kept, x.dim(2)}, x.dtype(), x.device());
  const size_t row_bytes = static_cast<size_t>(x.dim(2)) * size_of(x.dtype());
  const int32_t* const at = index.data<int32_t>();
  parallel_for(samples, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kept; i < end * kept; ++i) {
      const int64_t source = i / kept * rows + at[i];
      std::memcpy(y.raw() + static_cast<size_t>(i) * row_bytes,
                  x.raw() + static_cast<size_t>(source) * row_bytes, row_bytes);
    }
  });
  return y;
}

Tensor gather_grad(const Tensor& dy, const Tensor& index, int64_t rows) {
  const int64_t samples = dy.dim(0), kept = dy.dim(1), width = dy.dim(2);
  Tensor dx = zeros({samples, rows, width}, wide_of(dy.dtype()), dy.device());
  const int32_t* const at = index.data<int32_t>();
  dispatch_real("gather_rows_grad", dy.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T* const from = dy.data<T>();
    Wide* const to = dx.data<Wide>();
    parallel_for(samples, 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * kept; i < end * kept; ++i) {
        Wide* const row = to + (i / kept * rows + at[i]) * width;
        for (int64_t c = 0; c < width; ++c) row[c] += from[i * width + c];
      }
    });
  });
  return dx;
}

/// A total order in one unsigned key: higher scores first, then lower positions. -0 equals +0, NaN
/// is below everything.
uint64_t order_key(float score, int64_t position) {
  const auto bits = std::bit_cast<uint32_t>(score == 0 ? 0.0f : score);
  const uint32_t monotone = std::isnan(score) ? 0 : bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
  return uint64_t{monotone} << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(position));
}

Tensor select_top(const Tensor& score, int64_t k) {
  const int64_t samples = score.dim(0), positions = score.dim(1);
  Tensor y = Tensor::empty({samples, k}, DType::i32, score.device());
  const Tensor f32 = score.to(DType::f32);  // all dtypes select alike
  const float* const from = f32.data<float>();
  int32_t* const to = y.data<int32_t>();
  parallel_for(samples, 16, [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> keys(static_cast<size_t>(positions));
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t p = 0; p < positions; ++p)
        keys[static_cast<size_t>(p)] = order_key(from[n * positions + p], p);
      std::nth_element(keys.begin(), keys.begin() + k - 1, keys.end(), std::greater<>());
      for (int64_t j = 0; j < k; ++j)
        to[n * k + j] =
            static_cast<int32_t>(0xFFFFFFFFu - static_cast<uint32_t>(keys[static_cast<size_t>(j)]));
      std::sort(to + n * k, to + (n + 1) * k);
    }
  });
  return y;
}

Tensor lead_with(const Tensor& index, int64_t count) {
  const int64_t samples = index.dim(0), kept = index.dim(1);
  Tensor y = Tensor::empty({samples, count + kept}, DType::i32, index.device());
  const int32_t* const from = index.data<int32_t>();
  int32_t* const to = y.data<int32_t>();
  for (int64_t n = 0; n < samples; ++n) {
    int32_t* const row = to + n * (count + kept);
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<int32_t>(i);
    for (int64_t j = 0; j < kept; ++j)
      row[count + j] = from[n * kept + j] + static_cast<int32_t>(count);
  }
  return y;
}

/// Calls f(row of patches, position inside the row, offset in the image) for every element of
/// sample n.
template <class F>
void for_each_patch_element(const Shape& image, const Shape& strides, int64_t patch, const F& f) {
  const int64_t channels = image[1], across = image[3] / patch;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = 0; y < image[2]; ++y) {
      for (int64_t x = 0; x < image[3]; ++x) {
        f(y / patch * across + x / patch, (c * patch + y % patch) * patch + x % patch,
          c * strides[1] + y * strides[2] + x * strides[3]);
      }
    }
  }
}

Tensor patchify(const Tensor& images, int64_t patch) {
  const Shape& s = images.shape();
  const int64_t count = s[2] / patch * (s[3] / patch), width = s[1] * patch * patch;
  Tensor y = Tensor::empty({s[0], count, width}, images.dtype(), images.device());
  dispatch_real("patchify", images.dtype(), [&]<class T>(T) {
    const T* const from = images.data<T>();
    T* const to = y.data<T>();
    parallel_for(s[0], 8, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        for_each_patch_element(
            s, images.strides(), patch, [&](int64_t row, int64_t inside, int64_t at) {
              to[(n * count + row) * width + inside] = from[n * images.strides()[0] + at];
            });
      }
    });
  });
  return y;
}

Tensor patchify_grad(const Tensor& dy, int64_t patch, const Shape& s) {
  Tensor dx = Tensor::empty_channels_last(s, dy.dtype(), dy.device());
  const int64_t count = s[2] / patch * (s[3] / patch), width = s[1] * patch * patch;
  dispatch_real("patchify_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.data<T>();
    for (int64_t n = 0; n < s[0]; ++n) {
      for_each_patch_element(s, dx.strides(), patch, [&](int64_t row, int64_t inside, int64_t at) {
        to[n * dx.strides()[0] + at] = from[(n * count + row) * width + inside];
      });
    }
  });
  return dx;
}

const bool registered = rows_kernels.add(
    DeviceType::cpu(), {gather, gather_grad, select_top, lead_with, patchify, patchify_grad});

}  // namespace
}  // namespace vtrain
