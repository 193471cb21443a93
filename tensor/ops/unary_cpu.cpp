#include <cmath>

#include "tensor/dispatch.h"
#include "tensor/ops/blocks.h"
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
    map_elements(px + begin, py + begin, end - begin, f);
  });
  return y;
}

Tensor apply(UnaryOp op, const Tensor& x) {
  return dispatch_real("unary", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    switch (op) {
      case UnaryOp::kExp:
        return loop<T>(x, [](C v) { return std::exp(v); });
      case UnaryOp::kLog:
        return loop<T>(x, [](C v) { return std::log(v); });
      case UnaryOp::kSqrt:
        return loop<T>(x, [](C v) { return std::sqrt(v); });
      case UnaryOp::kSquare:
        return loop<T>(x, [](C v) { return v * v; });
      case UnaryOp::kSigmoid:
        return loop<T>(x, [](C v) {
          const C e = std::exp(-std::abs(v));  // never overflows
          return v >= 0 ? 1 / (1 + e) : e / (1 + e);
        });
      case UnaryOp::kRelu:
        return loop<T>(x, [](C v) { return v > 0 ? v : C(0); });
      case UnaryOp::kNegate:
        return loop<T>(x, [](C v) { return -v; });
    }
    return Tensor();
  });
}

Tensor decide(const Tensor& x, double bound) {
  return dispatch_real("at_least", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    return loop<T>(x, [b = static_cast<C>(bound)](C v) { return v >= b ? C(1) : C(0); });
  });
}

Tensor clamped(const Tensor& x, double low, double high) {
  return dispatch_real("clamp", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    return loop<T>(x, [l = static_cast<C>(low), h = static_cast<C>(high)](C v) {
      const C above = v < l ? l : v;  // NaN stays NaN
      return above > h ? h : above;
    });
  });
}

Tensor passed(const Tensor& x, double low, double high, const Tensor& dy) {
  Tensor dx = empty_like(x);
  dispatch_real("where_inside", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const C l = static_cast<C>(low), h = static_cast<C>(high);
    const T *const px = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(x.numel(), 16384, [&](int64_t begin, int64_t end) {
      map_elements(px + begin, slope + begin, to + begin, end - begin,
                   [l, h](C v, C s) { return v > l && v < h ? s : C(0); });
    });
  });
  return dx;
}

const bool registered = unary_kernels.add(DeviceType::cpu(), {apply, decide, clamped, passed});

}  // namespace
}  // namespace vtrain
