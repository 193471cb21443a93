#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "compress/parts/fake_quantize.h"
#include "tensor/ops/conv2d.h"
#include "tensor/tensor.h"

namespace vtrain {

enum class Int8Activation { kNone, kRelu, kRelu6 };
enum class Int8Output {
  kCodes,  // of a QuantizedType
  kReals,  // f32
  kSums    // i32: the exact sums of products, nothing added or scaled
};

/// A layer on integer codes: what it reads, multiplies with and hands on, in real units.
///
/// With in = input, out = output, r = residual, sums s exact in 32 bits and all else in f32, each
/// operation rounded by itself but for one fused multiply-add, in this order:
///
///     s    = sum of (x - in.zero_point) * w                    padding is real 0: adds nothing
///     f    = (f32(s) + bias[o] / (in.scale * weight_scale[o]))
///            * (in.scale * weight_scale[o] / out.scale)
///     f    = fma(r.scale / out.scale, f32(residual - r.zero_point), f)     where there is one
///     f    = max(f, 0), and min(f, 6 / out.scale) for relu6
///     code = rne(clamp(f + out.zero_point, out.low, out.high))             ties to even
///
/// For kReals out.scale is 1, the last line is left out and the residual is f32, added as it is.
/// The divisions are made once, in double, and rounded to f32. On all chips codes agree with this
/// formula, of which `reference` below is the plain form.
struct Int8Layer {
  Tensor weight = {};        // i8 codes
  Tensor weight_scale = {};  // f32 (1), or (O): one per output channel
  Tensor bias = {};          // f32 (O), or undefined
  QuantizedType input = {};
  Int8Activation activation = Int8Activation::kNone;
  Int8Output result = Int8Output::kCodes;
  QuantizedType output = {};  // of kCodes
  bool adds_residual = false;
  QuantizedType residual = {};  // beside kCodes
};

struct Int8Geometry;
struct Int8Epilogue;

/// A layer with its weights packed. Products run in oneDNN where the chip has exact 8-bit dot
/// products (VNNI, AMX), else in a kernel of our own on 16-bit pairs: AVX2's and AVX-512's 8-bit
/// pairs saturate (255 * 127 * 2 does not fit 16 bits), and the result would depend on the chip.
class Int8Product {
 public:
  ~Int8Product();
  Int8Product(Int8Product&&) noexcept;
  Int8Product& operator=(Int8Product&&) noexcept;

  /// x -> y. `residual` has y's shape and may lie in y's memory, which is then written over; it is
  /// undefined where none is added. Images are channels last, other tensors contiguous. Throws
  /// ShapeError.
  void run(const Tensor& x, const Tensor& residual, Tensor& y) const;
  Tensor run(const Tensor& x, const Tensor& residual = {}) const;

  /// The formula above as plain loops: what tests and the check of a deployed network compare with.
  Tensor reference(const Tensor& x, const Tensor& residual = {}) const;

  /// The kernel that runs for this shape of x: oneDNN's name, or "exact:" and the level of ours.
  std::string implementation(const Shape& x) const;

 protected:
  struct Parts;
  explicit Int8Product(std::unique_ptr<Parts> parts);

 private:
  void check(const Tensor& x, const Tensor& residual, const Tensor& y) const;
  Tensor empty_result(const Tensor& x) const;

  std::unique_ptr<Parts> parts_;
};

/// x (N, C, H, W) codes, weight (O, C / groups, kh, kw) -> y (N, O, H', W'), channels last.
/// Throws ShapeError where parts do not fit, or where sums could leave 32 bits (more than 65536
/// products).
class Int8Conv2d final : public Int8Product {
 public:
  Int8Conv2d(const Int8Layer& layer, const Conv2dOptions& options);
};

/// x (..., in) codes, weight (out, in) -> y (..., out).
class Int8Linear final : public Int8Product {
 public:
  explicit Int8Linear(const Int8Layer& layer);
};

}  // namespace vtrain
