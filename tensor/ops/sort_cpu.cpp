#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tensor/dispatch.h"
#include "tensor/ops/sort.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// Whether position a comes before b: a total order, as no two positions are equal.
template <class T>
struct Before {
  const T* row;
  SortOrder order;
  bool operator()(int32_t a, int32_t b) const {
    const auto x = static_cast<Compute<T>>(row[a]), y = static_cast<Compute<T>>(row[b]);
    const bool is_x_nan = std::isnan(x), is_y_nan = std::isnan(y);
    if (is_x_nan || is_y_nan) return is_x_nan == is_y_nan ? a < b : is_y_nan;
    if (x == y) return a < b;
    return order == SortOrder::kAscending ? x < y : x > y;
  }
};

Sorted first(const Tensor& x, int64_t rows, int64_t length, int64_t k, SortOrder order) {
  Sorted result{Tensor::empty({rows, k}, x.dtype(), x.device()),
                Tensor::empty({rows, k}, DType::i32, x.device())};
  int32_t* const indices = result.indices.data<int32_t>();
  dispatch_real("sort", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const values = result.values.data<T>();
    parallel_for(rows, std::max<int64_t>(1, 4096 / length), [&](int64_t begin, int64_t end) {
      std::vector<int32_t> positions(static_cast<size_t>(length));
      for (int64_t r = begin; r < end; ++r) {
        const Before<T> before{from + r * length, order};
        std::iota(positions.begin(), positions.end(), 0);
        std::partial_sort(positions.begin(), positions.begin() + k, positions.end(), before);
        for (int64_t j = 0; j < k; ++j) {
          const int32_t position = positions[static_cast<size_t>(j)];
          indices[r * k + j] = position;
          values[r * k + j] = before.row[position];
        }
      }
    });
  });
  return result;
}

const bool registered = sort_kernels.add(DeviceType::cpu(), {first});

}  // namespace
}  // namespace vtrain
