#include <algorithm>
#include <cstring>
#include <vector>

#include "tensor/convert.h"
#include "tensor/device_memory.h"
#include "tensor/dispatch.h"
#include "tensor/ops/strided.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// The same for the rows below each index of the first axis, shared among threads: moving rows is
/// bound by memory, which one core does not use up.
template <class Row>
void for_each_row_in_parallel(const Shape& shape, const Shape& a, const Shape& b, const Row& row) {
  if (shape.size() < 2) return for_each_row(shape, a, b, row);
  const int64_t inner = numel_of(shape) / std::max<int64_t>(shape[0], 1);
  parallel_for(shape[0], std::max<int64_t>(1, 32768 / std::max<int64_t>(inner, 1)),
               [&](int64_t begin, int64_t end) {
                 Shape part = shape;
                 part[0] = end - begin;
                 for_each_row(part, a, b, [&](int64_t ia, int64_t ib) {
                   row(ia + begin * a[0], ib + begin * b[0]);
                 });
               });
}

/// n elements that are neighbours in both arrays.
template <class To, class From>
void convert_run(const From* from, To* to, int64_t n) {
  if constexpr (std::is_same_v<To, From>) {
    std::copy_n(from, n, to);
  } else if constexpr (std::is_same_v<To, float> && std::is_same_v<From, BFloat16>) {
    widen(from, to, n);
  } else if constexpr (std::is_same_v<To, BFloat16> && std::is_same_v<From, float>) {
    narrow(from, to, n);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = converted<To>(from[i]);
  }
}

/// How two tensors of one shape are walked together: axes without extents of 1, and with those
/// merged that are one run in both memories. Their order is the first one's in memory if its
/// neighbours are the other's too, else the logical order: of two bad orders neither is better.
struct Walk {
  Shape shape, a, b;
  Walk(const Shape& full, const Shape& stride_a, const Shape& stride_b) {
    std::vector<size_t> axes;
    bool shares_neighbours = false;
    for (size_t i = 0; i < full.size(); ++i) {
      if (full[i] == 1) continue;
      axes.push_back(i);
      shares_neighbours |= stride_a[i] == 1 && stride_b[i] == 1;
    }
    if (shares_neighbours) {
      std::stable_sort(axes.begin(), axes.end(),
                       [&](size_t i, size_t j) { return stride_a[i] > stride_a[j]; });
    }
    for (const size_t i : axes) {
      if (!shape.empty() && a.back() == stride_a[i] * full[i] &&
          b.back() == stride_b[i] * full[i]) {
        shape.back() *= full[i];
        a.back() = stride_a[i];
        b.back() = stride_b[i];
      } else {
        shape.push_back(full[i]);
        a.push_back(stride_a[i]);
        b.push_back(stride_b[i]);
      }
    }
  }
  bool is_one_run() const { return shape.empty() || (shape.size() == 1 && a[0] == 1 && b[0] == 1); }
};

constexpr int64_t kRunGrain = 32768;  // elements of a run worth a thread

void copy(const Tensor& source, Tensor& target) {
  const Walk walk(target.shape(), target.strides(), source.strides());
  const int64_t count = walk.shape.empty() ? 1 : walk.shape.back();
  const int64_t to_step = walk.shape.empty() ? 1 : walk.a.back(),
                from_step = walk.shape.empty() ? 1 : walk.b.back();
  dispatch_all("copy", target.dtype(), [&]<class To>(To) {
    dispatch_all("copy", source.dtype(), [&]<class From>(From) {
      To* const to = target.data<To>();
      const From* const from = source.data<From>();
      if (walk.is_one_run()) {
        parallel_for(count, kRunGrain, [&](int64_t begin, int64_t end) {
          convert_run(from + begin, to + begin, end - begin);
        });
        return;
      }
      for_each_row_in_parallel(walk.shape, walk.a, walk.b, [&](int64_t a, int64_t b) {
        if (to_step == 1 && from_step == 1) return convert_run(from + b, to + a, count);
        for (int64_t i = 0; i < count; ++i) {
          to[a + i * to_step] = converted<To>(from[b + i * from_step]);
        }
      });
    });
  });
}

void fill(Tensor& target, double value) {
  const Walk walk(target.shape(), target.strides(), target.strides());
  const int64_t count = walk.shape.empty() ? 1 : walk.shape.back(),
                step = walk.shape.empty() ? 1 : walk.a.back();
  dispatch_all("fill", target.dtype(), [&]<class T>(T) {
    T* const to = target.data<T>();
    const T v = converted<T>(value);
    if (walk.is_one_run()) {
      parallel_for(count, kRunGrain,
                   [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, v); });
      return;
    }
    for_each_row_in_parallel(walk.shape, walk.a, walk.b, [&](int64_t a, int64_t) {
      for (int64_t i = 0; i < count; ++i) to[a + i * step] = v;
    });
  });
}

std::shared_ptr<std::byte> allocate(size_t bytes, int) { return allocate_cpu(bytes); }
void move_bytes(const std::byte* from, std::byte* to, size_t bytes) {
  std::memcpy(to, from, bytes);
}

const bool registered = device_memory.add(DeviceType::cpu(), {.allocate = allocate,
                                                              .copy = copy,
                                                              .fill = fill,
                                                              .upload = move_bytes,
                                                              .download = move_bytes,
                                                              .use = cpu_memory_use,
                                                              .reset_peak = reset_cpu_memory_peak});

}  // namespace
}  // namespace vtrain
