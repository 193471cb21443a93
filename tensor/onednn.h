#pragma once
// The one door to oneDNN: everything that differs between 2.6 and 3.x stands in onednn.cpp.

#include <cstdint>
#include <string>

namespace vtrain::onednn {

/// c (batch, m, n) = a (batch, m, k) * b (batch, k, n) [+ bias (n)], f32. Strides in elements: of a
/// batch entry, a row, a column; one of row and column stride is 1. c is row-major.
struct Matmul {
  int64_t batch = 1, m = 0, k = 0, n = 0;
  int64_t a_batch = 0, a_row = 0, a_column = 1;
  int64_t b_batch = 0, b_row = 0, b_column = 1;
  bool has_bias = false;
  friend bool operator==(const Matmul&, const Matmul&) = default;
};

/// Runs it; the primitive is made once per description and number of threads, and kept.
void run(const Matmul& matmul, const float* a, const float* b, const float* bias, float* c);

/// oneDNN's name of the kernel it would run: tests refuse reference loops ("ref:any", "gemm:ref").
std::string implementation(const Matmul& matmul);

/// "2.6.3 avx512_core_amx": recorded with every run, since bits may depend on it.
std::string version();

}  // namespace vtrain::onednn
