#pragma once

#include "tensor/dtype.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

/// Calls f(T{}) with the C++ type of a dtype that needs no widening: f32 or f64.
template <class F>
decltype(auto) dispatch_floating(const char* op, DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::f64) return f(double{});
  throw ShapeError(str('[', op, "] expected f32 or f64, got ", name_of(dtype)));
}

/// The same with bf16 too, for kernels that compute in Compute<T>.
template <class F>
decltype(auto) dispatch_real(const char* op, DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::f64) return f(double{});
  if (dtype == DType::bf16) return f(BFloat16{});
  throw ShapeError(str('[', op, "] expected f32, f64 or bf16, got ", name_of(dtype)));
}

/// Calls f(T{}) for any dtype but the reserved ones.
template <class F>
void dispatch_all(const char* op, DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(BFloat16{});
    case DType::i8:
      return f(int8_t{});
    case DType::u8:
      return f(uint8_t{});
    case DType::i32:
      return f(int32_t{});
    case DType::i64:
      return f(int64_t{});
    case DType::boolean:
      return f(bool{});
    case DType::f16:
      break;
  }
  throw ShapeError(str('[', op, "] ", name_of(dtype), " is reserved: no op works with it yet"));
}

}  // namespace vtrain
