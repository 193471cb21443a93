// Each function beside its derivative. What is multiplied by a tail that is exactly 0 is bounded
// first, so that infinity does not become 0 * infinity; vmin and vmax let a NaN in their second
// argument through.
#include "tensor/ops/activation_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

Vec bounded(Vec x, float low, float high) { return vmin(splat(high), vmax(splat(low), x)); }

/// sigmoid(x) and sigmoid(-x), both with the relative precision of their own tails.
struct Sigmoids {
  Vec here, mirrored;
};
Sigmoids sigmoids(Vec x) {
  const Vec e = vexp_nonpositive(-vabs(x));
  const Vec larger = 1.0f / (1.0f + e), smaller = e * larger;
  const IVec is_positive = x > Vec{};
  return {choose(is_positive, larger, smaller), choose(is_positive, smaller, larger)};
}

struct Relu6 {
  static Vec value(Vec x, float) { return bounded(x, 0, 6); }
  static Vec slope(Vec x, float) {
    return choose((x > Vec{}) & (x < splat(6.0f)), splat(1.0f), Vec{});
  }
};

struct LeakyRelu {
  static Vec value(Vec x, float slope) { return choose(x > Vec{}, x, x * slope); }
  static Vec slope(Vec x, float slope) { return choose(x > Vec{}, splat(1.0f), splat(slope)); }
};

struct Sigmoid {
  static Vec value(Vec x, float) { return sigmoids(x).here; }
  static Vec slope(Vec x, float) {
    const Sigmoids s = sigmoids(x);
    return s.here * s.mirrored;
  }
};

/// Near 0 the polynomial of Moshier's Cephes (tanhf, within 2 ulp), as 1 - exp(-2 |x|) cancels
/// there.
struct Tanh {
  static Vec value(Vec x, float) {
    const Vec size = vabs(x);
    const Vec e = vexp_nonpositive(size * -2.0f);
    const Vec far = (1.0f - e) / (1.0f + e);
    const Vec z = x * x;
    Vec p = splat(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const Vec near = p * z * x + x;
    return choose(size < splat(0.625f), near, choose(x < Vec{}, -far, far));
  }
  static Vec slope(Vec x, float) {  // 1 - tanh^2, without its cancellation
    const Vec e = vexp_nonpositive(vabs(x) * -2.0f);
    const Vec above = 1.0f + e;
    return 4.0f * e / (above * above);
  }
};

struct Silu {
  static Vec value(Vec x, float) { return vmax(splat(-100.0f), x) * sigmoids(x).here; }
  static Vec slope(Vec x, float) {
    const Sigmoids s = sigmoids(x);
    return s.here * (1.0f + bounded(x, -100, 100) * s.mirrored);
  }
};

/// 0.5 (1 + tanh(u)) = sigmoid(2 u). Behind 20 the sigmoids are 0 and 1.
struct GeluTanh {
  static constexpr float kScale = 1.5957691216f, kCubic = 0.044715f;  // 2 sqrt(2 / pi)
  static Vec value(Vec x, float) {
    const Vec b = bounded(x, -20, 20);
    return vmax(splat(-20.0f), x) * sigmoids(b * (1.0f + b * b * kCubic) * kScale).here;
  }
  static Vec slope(Vec x, float) {
    const Vec b = bounded(x, -20, 20), square = b * b;
    const Sigmoids s = sigmoids(b * (1.0f + square * kCubic) * kScale);
    const Vec inner = (1.0f + square * (3 * kCubic)) * kScale;
    return s.here * (1.0f + b * s.mirrored * inner);
  }
};

constexpr float kSixth = 1.0f / 6.0f;

struct HardSigmoid {
  static Vec value(Vec x, float) { return bounded(x + 3.0f, 0, 6) * kSixth; }
  static Vec slope(Vec x, float) {
    return choose((x > splat(-3.0f)) & (x < splat(3.0f)), splat(kSixth), Vec{});
  }
};

struct HardSwish {
  static Vec value(Vec x, float) {
    return vmax(splat(-3.0f), x) * (bounded(x + 3.0f, 0, 6) * kSixth);
  }
  static Vec slope(Vec x, float) {
    const Vec between = x * (2 * kSixth) + 0.5f;
    return choose(x > splat(-3.0f), choose(x < splat(3.0f), between, splat(1.0f)), Vec{});
  }
};

template <class F, class T>
void apply(const T* x, float slope, int64_t n, T* y) {
  for_vectors(n, [&](auto at) { at.store_to(y, F::value(at.load_from(x), slope)); });
}

template <class F, class T>
void apply_grad(const T* x, const T* dy, float slope, int64_t n, T* dx) {
  for_vectors(
      n, [&](auto at) { at.store_to(dx, at.load_from(dy) * F::slope(at.load_from(x), slope)); });
}

/// f(F{}) with the struct of that kind.
template <class Body>
void with(ActivationKind kind, const Body& body) {
  switch (kind) {
    case ActivationKind::kRelu6:
      return body(Relu6{});
    case ActivationKind::kLeakyRelu:
      return body(LeakyRelu{});
    case ActivationKind::kSigmoid:
      return body(Sigmoid{});
    case ActivationKind::kTanh:
      return body(Tanh{});
    case ActivationKind::kSilu:
      return body(Silu{});
    case ActivationKind::kGeluTanh:
      return body(GeluTanh{});
    case ActivationKind::kHardSigmoid:
      return body(HardSigmoid{});
    case ActivationKind::kHardSwish:
      return body(HardSwish{});
  }
}

template <class T>
void forward(ActivationKind kind, const T* x, float slope, int64_t n, T* y) {
  with(kind, [&](auto f) { apply<decltype(f)>(x, slope, n, y); });
}

template <class T>
void grad(ActivationKind kind, const T* x, const T* dy, float slope, int64_t n, T* dx) {
  with(kind, [&](auto f) { apply_grad<decltype(f)>(x, dy, slope, n, dx); });
}

}  // namespace

const ActivationSimd activation_simd = {{forward<float>, grad<float>},
                                        {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
