#include <algorithm>
#include <cstring>

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

void copy(const Tensor& source, Tensor& target) {
  const Shape &shape = target.shape(), &strides = target.strides();
  if (target.dtype() == source.dtype() && strides == source.strides() && target.is_dense()) {
    std::memcpy(target.raw(), source.raw(), static_cast<size_t>(target.bytes()));
    return;
  }
  const int64_t count = shape.empty() ? 1 : shape.back();
  const int64_t to_step = shape.empty() ? 1 : strides.back(),
                from_step = shape.empty() ? 1 : source.strides().back();
  dispatch_all("copy", target.dtype(), [&]<class To>(To) {
    dispatch_all("copy", source.dtype(), [&]<class From>(From) {
      To* const to = target.data<To>();
      const From* const from = source.data<From>();
      for_each_row_in_parallel(shape, strides, source.strides(), [&](int64_t a, int64_t b) {
        if constexpr (std::is_same_v<To, From>) {
          if (to_step == 1 && from_step == 1) {
            std::copy_n(from + b, count, to + a);
            return;
          }
        }
        for (int64_t i = 0; i < count; ++i) {
          to[a + i * to_step] = converted<To>(from[b + i * from_step]);
        }
      });
    });
  });
}

void fill(Tensor& target, double value) {
  const Shape &shape = target.shape(), &strides = target.strides();
  dispatch_all("fill", target.dtype(), [&]<class T>(T) {
    T* const to = target.data<T>();
    const T v = converted<T>(value);
    const int64_t count = shape.empty() ? 1 : shape.back(),
                  step = shape.empty() ? 1 : strides.back();
    for_each_row_in_parallel(shape, strides, strides, [&](int64_t a, int64_t) {
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
