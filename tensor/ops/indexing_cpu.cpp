#include <algorithm>
#include <vector>

#include "tensor/dispatch.h"
#include "tensor/ops/indexing.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 16384;

/// f(begin, end) over the slices before the axis, of `slice` elements each.
template <class F>
void for_outer(int64_t outer, int64_t slice, const F& f) {
  parallel_for(outer, std::max<int64_t>(1, kGrainElements / std::max<int64_t>(slice, 1)), f);
}

void check_range(const char* op, const Tensor& index, const AxisExtent& extent) {
  const int32_t* const p = index.data<int32_t>();
  for (int64_t i = 0; i < index.numel(); ++i) {
    if (p[i] < 0 || p[i] >= extent.length) {
      throw ShapeError(
          str('[', op, "] index: expected entries in 0..", extent.length - 1, ", got ", p[i]));
    }
  }
}

void select(const Tensor& x, const AxisExtent& extent, const Tensor& index, Tensor& y) {
  const int64_t outer = extent.outer, length = extent.length, inner = extent.inner;
  const int64_t kept = index.numel();
  check_range("index_select", index, extent);
  const int32_t* const at = index.data<int32_t>();
  dispatch_all("index_select", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    for_outer(outer, kept * inner, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T* const source = from + o * length * inner;
        T* const row = to + o * kept * inner;
        if (inner == 1) {
          for (int64_t j = 0; j < kept; ++j) row[j] = source[at[j]];
        } else {
          for (int64_t j = 0; j < kept; ++j)
            std::copy_n(source + at[j] * inner, inner, row + j * inner);
        }
      }
    });
  });
}

void select_grad(const Tensor& dy, const Tensor& index, const AxisExtent& extent, Tensor& dx) {
  const int64_t outer = extent.outer, length = extent.length, inner = extent.inner;
  const int64_t kept = index.numel();
  check_range("index_select_grad", index, extent);
  const int32_t* const at = index.data<int32_t>();
  dispatch_floating("index_select_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.data<T>();
    for_outer(outer, kept * inner, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        for (int64_t j = 0; j < kept; ++j) {
          const T* const source = from + (o * kept + j) * inner;
          T* const row = to + (o * length + at[j]) * inner;
          for (int64_t i = 0; i < inner; ++i) row[i] += source[i];
        }
      }
    });
  });
}

/// f(offset in the indexed tensor, offset in index) for every entry of index, slices in parallel.
template <class F>
void for_entries(const Tensor& index, const AxisExtent& extent, const F& f) {
  const int64_t length = extent.length, inner = extent.inner;
  const int64_t slice = extent.outer > 0 ? index.numel() / extent.outer : 0;
  const int32_t* const at = index.data<int32_t>();
  for_outer(extent.outer, slice, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t k = 0; k < slice; ++k) {
        const int64_t entry = o * slice + k;
        f((o * length + at[entry]) * inner + k % inner, entry);
      }
    }
  });
}

void gather(const Tensor& x, const AxisExtent& extent, const Tensor& index, Tensor& y) {
  check_range("gather", index, extent);
  dispatch_all("gather", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    for_entries(index, extent, [&](int64_t source, int64_t entry) { to[entry] = from[source]; });
  });
}

void scatter(const Tensor& src, const Tensor& index, const AxisExtent& extent, Tensor& y) {
  check_range("scatter", index, extent);
  dispatch_all("scatter", src.dtype(), [&]<class T>(T) {
    const T* const from = src.data<T>();
    T* const to = y.data<T>();
    for_entries(index, extent, [&](int64_t target, int64_t entry) { to[target] = from[entry]; });
  });
}

void scatter_add(const Tensor& src, const Tensor& index, const AxisExtent& extent, Tensor& y) {
  check_range("scatter_add", index, extent);
  dispatch_floating("scatter_add", src.dtype(), [&]<class T>(T) {
    const T* const from = src.data<T>();
    T* const to = y.data<T>();
    for_entries(index, extent, [&](int64_t target, int64_t entry) { to[target] += from[entry]; });
  });
}

/// Every source writes its own number; it won if that number is still there.
void winners(const Tensor& index, const AxisExtent& extent, Tensor& y) {
  check_range("scatter_winners", index, extent);
  std::vector<int64_t> written(static_cast<size_t>(extent.outer * extent.length * extent.inner));
  for_entries(index, extent,
              [&](int64_t target, int64_t entry) { written[static_cast<size_t>(target)] = entry; });
  uint8_t* const to = y.data<uint8_t>();
  for_entries(index, extent, [&](int64_t target, int64_t entry) {
    to[entry] = written[static_cast<size_t>(target)] == entry;
  });
}

const bool registered = indexing_kernels.add(
    DeviceType::cpu(), {select, select_grad, gather, scatter, scatter_add, winners});

}  // namespace
}  // namespace vtrain
