#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/optimize.h"
#include "tensor/ops/optimize_loops.h"
#include "tensor/ops/optimize_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kChunk = 16384;

const OptimizeSimd& simd() {
  return by_level(baseline::optimize_simd, avx2::optimize_simd, avx512::optimize_simd,
                  avx512_bf16::optimize_simd);
}

/// A run of at most kChunk elements of tensor number `index`.
struct Chunk {
  size_t index;
  int64_t begin, count;
};
template <class Numel>
std::vector<Chunk> chunks_of(size_t tensors, const Numel& numel) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < tensors; ++i) {
    const int64_t n = numel(i);
    for (int64_t at = 0; at < n; at += kChunk) chunks.push_back({i, at, std::min(kChunk, n - at)});
  }
  return chunks;
}

/// body(T{}, chunk) over all chunks in one parallel region.
template <class DTypeOfTensor, class Body>
void for_chunks(const std::vector<Chunk>& chunks, const DTypeOfTensor& dtype, const Body& body) {
  parallel_for(static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& chunk = chunks[static_cast<size_t>(i)];
      if (dtype(chunk.index) == DType::f32) {
        body(float{}, chunk, static_cast<size_t>(i));
      } else {
        body(double{}, chunk, static_cast<size_t>(i));
      }
    }
  });
}

template <class T>
AdamwStep<T> step_of(const AdamwTensors& t, const AdamwOptions& o) {
  const double eta = o.lr * t.lr_scale, step = static_cast<double>(o.step);
  return {.decay = static_cast<T>(1 - eta * t.weight_decay),
          .one_minus_beta1 = static_cast<T>(1 - o.beta1),
          .beta2 = static_cast<T>(o.beta2),
          .one_minus_beta2 = static_cast<T>(1 - o.beta2),
          .step_size = static_cast<T>(eta / (1 - std::pow(o.beta1, step))),
          .inverse_root = static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, step))),
          .eps = static_cast<T>(o.eps),
          .grad_scale = static_cast<T>(o.grad_scale)};
}

void adamw(std::span<AdamwTensors> tensors, const AdamwOptions& options) {
  const auto chunks =
      chunks_of(tensors.size(), [&](size_t i) { return tensors[i].parameter.numel(); });
  const auto dtype = [&](size_t i) { return tensors[i].parameter.dtype(); };
  for_chunks(chunks, dtype, [&]<class T>(T, const Chunk& c, size_t) {
    AdamwTensors& t = tensors[c.index];
    T *const p = t.parameter.data<T>() + c.begin, *const m = t.exp_avg.data<T>() + c.begin;
    T* const v = t.exp_avg_sq.data<T>() + c.begin;
    const T* const g = t.grad.data<T>() + c.begin;
    if constexpr (std::is_same_v<T, float>) {
      simd().adamw(p, g, m, v, c.count, step_of<T>(t, options));
    } else {
      adamw_loop(p, g, m, v, c.count, step_of<T>(t, options));
    }
  });
}

void sgd(std::span<SgdTensors> tensors, const SgdOptions& options) {
  const auto chunks =
      chunks_of(tensors.size(), [&](size_t i) { return tensors[i].parameter.numel(); });
  const auto dtype = [&](size_t i) { return tensors[i].parameter.dtype(); };
  for_chunks(chunks, dtype, [&]<class T>(T, const Chunk& c, size_t) {
    SgdTensors& t = tensors[c.index];
    T* const p = t.parameter.data<T>() + c.begin;
    T* const buffer = t.momentum_buffer.defined() ? t.momentum_buffer.data<T>() + c.begin : nullptr;
    const T* const g = t.grad.data<T>() + c.begin;
    const SgdStep<T> step{.lr = static_cast<T>(options.lr * t.lr_scale),
                          .momentum = static_cast<T>(options.momentum),
                          .weight_decay = static_cast<T>(t.weight_decay),
                          .grad_scale = static_cast<T>(options.grad_scale),
                          .nesterov = options.nesterov};
    if constexpr (std::is_same_v<T, float>) {
      simd().sgd(p, g, buffer, c.count, step);
    } else {
      sgd_loop(p, g, buffer, c.count, step);
    }
  });
}

void ema(std::span<const Tensor> values, std::span<Tensor> averages, double decay) {
  const auto chunks = chunks_of(values.size(), [&](size_t i) { return values[i].numel(); });
  const auto dtype = [&](size_t i) { return values[i].dtype(); };
  for_chunks(chunks, dtype, [&]<class T>(T, const Chunk& c, size_t) {
    const T* const value = values[c.index].data<T>() + c.begin;
    T* const average = averages[c.index].data<T>() + c.begin;
    if constexpr (std::is_same_v<T, float>) {
      simd().ema(value, average, c.count, static_cast<T>(decay), static_cast<T>(1 - decay));
    } else {
      ema_loop(value, average, c.count, static_cast<T>(decay), static_cast<T>(1 - decay));
    }
  });
}

double squares(std::span<const Tensor> tensors) {
  const auto chunks = chunks_of(tensors.size(), [&](size_t i) { return tensors[i].numel(); });
  std::vector<double> sums(chunks.size());
  const auto dtype = [&](size_t i) { return tensors[i].dtype(); };
  for_chunks(chunks, dtype, [&]<class T>(T, const Chunk& c, size_t number) {
    const T* const x = tensors[c.index].data<T>() + c.begin;
    if constexpr (std::is_same_v<T, float>) {
      sums[number] = simd().sum_of_squares(x, c.count);
    } else {
      sums[number] = squares_loop(x, c.count);
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

const bool registered = optimize_kernels.add(DeviceType::cpu(), {adamw, sgd, ema, squares});

}  // namespace
}  // namespace vtrain
