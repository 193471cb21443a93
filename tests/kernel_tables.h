#pragma once
// A further device made of the CPU's kernels: every table of kernels, each kernel wrapped.

#include <array>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor/ops/activation.h"
#include "tensor/ops/attention.h"
#include "tensor/ops/batch_norm.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/conv2d.h"
#include "tensor/ops/cross_entropy.h"
#include "tensor/ops/dropout.h"
#include "tensor/ops/fake_quantize.h"
#include "tensor/ops/gelu.h"
#include "tensor/ops/indexing.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/local_response_norm.h"
#include "tensor/ops/matmul.h"
#include "tensor/ops/optimize.h"
#include "tensor/ops/pool.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/resize2d.h"
#include "tensor/ops/rms_norm.h"
#include "tensor/ops/rows.h"
#include "tensor/ops/softmax.h"
#include "tensor/ops/sort.h"
#include "tensor/ops/token_merge.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace kernel_tables {

struct Anything {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};
template <class T, size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything())...}; };
}
template <class T, size_t N = 12>
constexpr size_t field_count() {
  if constexpr (N == 0 || takes<T>(std::make_index_sequence<N>())) {
    return N;
  } else {
    return field_count<T, N - 1>();
  }
}

template <class T>
auto fields(T& s) {
  constexpr size_t n = field_count<std::remove_const_t<T>>();
  static_assert(n <= 10, "write one more line below");
  if constexpr (n == 1) {
    auto& [a] = s;
    return std::tie(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = s;
    return std::tie(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = s;
    return std::tie(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = s;
    return std::tie(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = s;
    return std::tie(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = s;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = s;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (n == 8) {
    auto& [a, b, c, d, e, f, g, h] = s;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (n == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = s;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j] = s;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  }
}

/// Calls f(tensor) for every tensor inside a value: itself, an element, or a field at any depth.
template <class T, class F>
void for_each_tensor(T& value, const F& f) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Plain, Tensor>) {
    f(value);
  } else if constexpr (requires { value.begin(), value.end(), typename Plain::value_type(); }) {
    if constexpr (std::is_class_v<typename Plain::value_type>) {
      for (auto& element : value) for_each_tensor(element, f);
    }
  } else if constexpr (std::is_aggregate_v<Plain> && !std::is_array_v<Plain>) {
    std::apply([&](auto&... field) { (for_each_tensor(field, f), ...); }, fields(value));
  }
}

/// An argument of a kernel, kept in a form in which its tensors are the kernels'.
template <class Policy, class Arg>
struct Held {
  explicit Held(Arg arg) : value(arg) {
    constexpr bool is_written = !std::is_const_v<std::remove_reference_t<Arg>>;
    for_each_tensor(value, [](Tensor& t) { t = Policy::for_kernels(t, is_written); });
  }
  Arg get() { return static_cast<Arg>(value); }
  std::remove_cvref_t<Arg> value;
};
template <class Policy, class T>
struct Held<Policy, std::span<T>> {
  explicit Held(std::span<T> arg) : value(arg.begin(), arg.end()) {
    for (auto& each : value) {
      for_each_tensor(each, [](Tensor& t) { t = Policy::for_kernels(t, !std::is_const_v<T>); });
    }
  }
  std::span<T> get() { return value; }
  std::vector<std::remove_const_t<T>> value;
};

/// The new device's kernel for field I of a table.
template <class Policy, auto& table, size_t I, class F>
struct Launch;
template <class Policy, auto& table, size_t I, class R, class... Args>
struct Launch<Policy, table, I, R (*)(Args...)> {
  static R run(Args... args) {
    auto& kernels = table.on(Device{});
    const auto kernel = std::get<I>(fields(kernels));
    std::tuple<Held<Policy, Args>...> held{Held<Policy, Args>(args)...};
    Policy::before(table.op(), I, held);
    if constexpr (std::is_void_v<R>) {
      std::apply([&](auto&... each) { kernel(each.get()...); }, held);
      Policy::after();
    } else {
      R result = std::apply([&](auto&... each) { return kernel(each.get()...); }, held);
      Policy::after();
      for_each_tensor(result, [](Tensor& t) { t = Policy::for_device(t); });
      return result;
    }
  }
};

template <class Policy, auto& table>
void retag(DeviceType type) {
  auto kernels = table.on(Device{});  // a copy, field by field replaced
  auto each = fields(kernels);
  [&]<size_t... I>(std::index_sequence<I...>) {
    ((std::get<I>(each) =
          Launch<Policy, table, I,
                 std::remove_cvref_t<std::tuple_element_t<I, decltype(each)>>>::run),
     ...);
  }
  (std::make_index_sequence<std::tuple_size_v<decltype(each)>>());
  table.add(type, kernels);
}

}  // namespace kernel_tables

/// Gives `type` the CPU's kernels for every op there is (tests/layout_test.cpp compares this list
/// with the headers). Policy has static members:
///   Tensor for_kernels(const Tensor& t, bool is_written)   an argument as the CPU's kernel sees it
///   Tensor for_device(const Tensor& t)                     what a kernel returned, on the device
///   void before(const char* op, size_t kernel, auto& arguments), void after()    around each
///   launch
template <class Policy>
void register_cpu_kernels_as(DeviceType type) {
  using namespace kernel_tables;
  retag<Policy, activation_kernels>(type);
  retag<Policy, attention_kernels>(type);
  retag<Policy, batch_norm_kernels>(type);
  retag<Policy, binary_kernels>(type);
  retag<Policy, conv2d_kernels>(type);
  retag<Policy, cross_entropy_kernels>(type);
  retag<Policy, dropout_kernels>(type);
  retag<Policy, fake_quantize_kernels>(type);
  retag<Policy, gelu_kernels>(type);
  retag<Policy, indexing_kernels>(type);
  retag<Policy, layer_norm_kernels>(type);
  retag<Policy, local_response_norm_kernels>(type);
  retag<Policy, matmul_kernels>(type);
  retag<Policy, optimize_kernels>(type);
  retag<Policy, pool_kernels>(type);
  retag<Policy, reduce_kernels>(type);
  retag<Policy, resize2d_kernels>(type);
  retag<Policy, rms_norm_kernels>(type);
  retag<Policy, rows_kernels>(type);
  retag<Policy, softmax_kernels>(type);
  retag<Policy, sort_kernels>(type);
  retag<Policy, token_merge_kernels>(type);
  retag<Policy, unary_kernels>(type);
}

}  // namespace vtrain
