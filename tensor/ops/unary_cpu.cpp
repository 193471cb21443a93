#include <cmath>

#include "tensor/dispatch.h"
#include "tensor/ops/unary.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

template <class T, class F>
Tensor loop(const Tensor& x, const F& f) {
  Tensor y = empty_like(x);
  const T* const px = x.data<T>();
  T* const py = y.data<T>();
  parallel_for(x.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) py[i] = f(px[i]);
  });
  return y;
}

Tensor apply(UnaryOp op, const Tensor& x) {
  return dispatch_floating("unary", x.dtype(), [&]<class T>(T) {
    switch (op) {
      case UnaryOp::kExp:
        return loop<T>(x, [](T v) { return std::exp(v); });
      case UnaryOp::kLog:
        return loop<T>(x, [](T v) { return std::log(v); });
      case UnaryOp::kSqrt:
        return loop<T>(x, [](T v) { return std::sqrt(v); });
      case UnaryOp::kSquare:
        return loop<T>(x, [](T v) { return v * v; });
      case UnaryOp::kSigmoid:
        return loop<T>(x, [](T v) {
          const T e = std::exp(-std::abs(v));  // never overflows
          return v >= 0 ? 1 / (1 + e) : e / (1 + e);
        });
      case UnaryOp::kRelu:
        return loop<T>(x, [](T v) { return v > 0 ? v : T(0); });
      case UnaryOp::kNegate:
        return loop<T>(x, [](T v) { return -v; });
    }
    return Tensor();
  });
}

Tensor decide(const Tensor& x, double bound) {
  return dispatch_floating("at_least", x.dtype(), [&]<class T>(T) {
    return loop<T>(x, [b = static_cast<T>(bound)](T v) { return v >= b ? T(1) : T(0); });
  });
}

Tensor clamped(const Tensor& x, double low, double high) {
  return dispatch_floating("clamp", x.dtype(), [&]<class T>(T) {
    return loop<T>(x, [l = static_cast<T>(low), h = static_cast<T>(high)](T v) {
      const T above = v < l ? l : v;  // NaN stays NaN
      return above > h ? h : above;
    });
  });
}

Tensor passed(const Tensor& x, double low, double high, const Tensor& dy) {
  Tensor dx = empty_like(x);
  dispatch_floating("where_inside", x.dtype(), [&]<class T>(T) {
    const T l = static_cast<T>(low), h = static_cast<T>(high);
    const T *const px = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(x.numel(), 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = px[i] > l && px[i] < h ? slope[i] : T(0);
    });
  });
  return dx;
}

const bool registered = unary_kernels.add(DeviceType::cpu(), {apply, decide, clamped, passed});

}  // namespace
}  // namespace vtrain
