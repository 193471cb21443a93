#pragma once
// The one door to oneDNN: everything that differs between 2.6 and 3.x stands in onednn.cpp.
// Primitives are made once per description and number of threads, and kept.

#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace vtrain::onednn {

/// c (batch, m, n) = a (batch, m, k) * b (batch, k, n) [+ bias (n)]. Strides in elements: of a
/// batch entry, a row, a column; one of row and column stride is 1, but of c's both are free if
/// the batch is 1. The bias is f32.
struct Matmul {
  int64_t batch = 1, m = 0, k = 0, n = 0;
  int64_t a_batch = 0, a_row = 0, a_column = 1;
  int64_t b_batch = 0, b_row = 0, b_column = 1;
  int64_t c_row = 0, c_column = 1;  // c_row 0: row-major
  bool has_bias = false;
  DType dtype = DType::f32;   // of a and b: f32 or bf16
  DType result = DType::f32;  // of c: f32 or dtype
  /// b is brought into the library's own layout first: a pass over b, for a faster product.
  bool packs_b = false;
  friend bool operator==(const Matmul&, const Matmul&) = default;
};
void run(const Matmul& matmul, const void* a, const void* b, const float* bias, void* c);

/// A convolution of x (n, c_in, h_in, w_in), channels last, with w (c_out, c_in / groups, kernel_h,
/// kernel_w), contiguous: y (n, c_out, h_out, w_out), channels last. Dilation 1 is none.
struct Convolution {
  int64_t n = 0, c_in = 0, h_in = 0, w_in = 0, c_out = 0, h_out = 0, w_out = 0;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // padding
  int64_t groups = 1;
  DType dtype = DType::f32;  // of x, w, y and of the gradients of x and y: f32 or bf16
  bool has_bias = false;     // of the forward pass, f32
  friend bool operator==(const Convolution&, const Convolution&) = default;
};
void run_forward(const Convolution& conv, const void* x, const void* w, const float* bias, void* y);
void run_grad_x(const Convolution& conv, const void* dy, const void* w, void* dx);
void run_grad_w(const Convolution& conv, const void* dy, const void* x, float* dw);

/// oneDNN's name of the kernel it would run: tests refuse reference loops ("ref:any", "gemm:ref").
std::string implementation(const Matmul& matmul);
enum class ConvolutionPass { kForward, kGradX, kGradW };
std::string implementation(const Convolution& conv, ConvolutionPass pass);

/// False where bf16 is refused or emulated; callers then widen to f32.
bool computes_bf16();

/// "2.6.3 avx512_core_amx": recorded with every run, since bits may depend on it.
std::string version();

}  // namespace vtrain::onednn
