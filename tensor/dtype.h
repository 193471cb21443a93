#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tensor/bfloat16.h"

namespace vtrain {

/// Element types. f16 and i8 are reserved: a tensor may hold them, no op computes with them yet.
enum class DType : uint8_t { f32, f64, bf16, f16, i8, u8, i32, i64, boolean };

size_t size_of(DType dtype);  // bytes per element
bool is_floating(DType dtype);
std::string_view name_of(DType dtype);  // "f32", also safetensors' spelling in lower case

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};

/// dtype of biases, scales, statistics and gradients of weights beside values of `dtype`: sums and
/// masters stay in f32 where values are bf16.
inline DType wide_of(DType dtype) { return dtype == DType::bf16 ? DType::f32 : dtype; }

/// What kernels compute in for elements of type T: bf16 is widened.
template <class T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<BFloat16> {
  using type = float;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

}  // namespace vtrain
