#include "compress/deploy/int8_kernels.h"

#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "compress/deploy/int8_parts.h"
#include "tensor/cpu_level.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kMostTaps = 65536;  // times 255 * 127 is just below 2^31

void check_layer(const char* op, const Int8Layer& l, int ndim) {
  const Tensor& w = l.weight;
  if (w.dtype() != DType::i8 || w.ndim() != ndim || w.numel() == 0)
    throw ShapeError(
        str('[', op, "] weight ", w.text(), ": expected i8 codes with ", ndim, " axes"));
  if (w.numel() / w.dim(0) > kMostTaps)
    throw ShapeError(str('[', op, "] weight ", w.shape(), ": expected at most ", kMostTaps,
                         " products a sum, so that it stays in 32 bits"));
  const Tensor& s = l.weight_scale;
  if (l.result != Int8Output::kSums && (!s.defined() || s.dtype() != DType::f32 || s.ndim() != 1 ||
                                        (s.dim(0) != 1 && s.dim(0) != w.dim(0)))) {
    throw ShapeError(str('[', op, "] weight_scale ", s.defined() ? s.text() : "undefined",
                         ": expected f32 of shape (1) or (O) for weight ", w.shape()));
  }
  if (l.bias.defined() && (l.bias.dtype() != DType::f32 || l.bias.shape() != Shape{w.dim(0)}))
    throw ShapeError(
        str('[', op, "] bias ", l.bias.text(), ": expected f32 (O) for weight ", w.shape()));
  if (l.result == Int8Output::kSums &&
      (l.bias.defined() || l.adds_residual || l.activation != Int8Activation::kNone))
    throw ShapeError(str('[', op, "] result: bare sums take no bias, residual or activation"));
}

int32_t plain_sum(const Int8Geometry& g, const Int8Epilogue& e, const int8_t* w, const void* x,
                  int64_t n, int64_t row, int64_t column, int64_t channel) {
  const Conv2dOptions& o = g.options;
  const int64_t depth = g.c_in / o.groups, first = channel / (g.c_out / o.groups) * depth;
  int32_t sum = 0;
  for (int64_t p = 0; p < g.kernel_h; ++p) {
    const int64_t i = row * o.stride.h + p * o.dilation.h - o.padding.top;
    if (i < 0 || i >= g.h_in) continue;
    for (int64_t q = 0; q < g.kernel_w; ++q) {
      const int64_t j = column * o.stride.w + q * o.dilation.w - o.padding.left;
      if (j < 0 || j >= g.w_in) continue;
      for (int64_t c = 0; c < depth; ++c) {
        const int64_t at = ((n * g.h_in + i) * g.w_in + j) * g.c_in + first + c;
        const auto code = static_cast<int32_t>(stored_code(e.input, x, at));
        // NOLINTNEXTLINE(bugprone-signed-char-misuse): a code is a number, with its sign
        const int32_t weight = w[((channel * depth + c) * g.kernel_h + p) * g.kernel_w + q];
        sum += (code - e.input_zero_point) * weight;
      }
    }
  }
  return sum;
}

}  // namespace

Int8Epilogue int8_epilogue(const Int8Layer& l) {
  Int8Epilogue e;
  e.input = l.input.dtype();
  e.input_zero_point = static_cast<int32_t>(l.input.range.zero_point);
  if (l.result == Int8Output::kSums) {
    e.output = DType::i32;
    return e;
  }
  const bool gives_codes = l.result == Int8Output::kCodes;
  const double step = gives_codes ? static_cast<double>(l.output.scale) : 1;
  const std::vector<double> weight_scale = l.weight_scale.to_vector();
  const std::vector<double> bias = l.bias.defined() ? l.bias.to_vector() : std::vector<double>{};
  for (size_t o = 0; o < static_cast<size_t>(l.weight.dim(0)); ++o) {
    const double unit =
        static_cast<double>(l.input.scale) * weight_scale[weight_scale.size() == 1 ? 0 : o];
    e.scale.push_back(static_cast<float>(unit / step));
    if (!bias.empty()) e.bias.push_back(static_cast<float>(bias[o] / unit));
  }
  e.adds_residual = l.adds_residual;
  e.output = gives_codes ? l.output.dtype() : DType::f32;
  e.residual = DType::f32;
  if (gives_codes && l.adds_residual) {
    e.residual = l.residual.dtype();
    e.residual_scale = static_cast<float>(static_cast<double>(l.residual.scale) / step);
    e.residual_zero_point = static_cast<int32_t>(l.residual.range.zero_point);
  }
  if (l.activation != Int8Activation::kNone) e.floor = 0;
  if (l.activation == Int8Activation::kRelu6) e.ceiling = static_cast<float>(6 / step);
  if (gives_codes) {
    e.output_zero_point = static_cast<int32_t>(l.output.range.zero_point);
    e.low = static_cast<float>(l.output.range.low);
    e.high = static_cast<float>(l.output.range.high);
  }
  return e;
}

struct Int8Product::Parts {
  Parts(const char* name, const Int8Layer& layer, const Conv2dOptions& conv, bool linear)
      : op(name),
        weight(layer.weight.contiguous().clone()),
        epilogue(int8_epilogue(layer)),
        options(conv),
        is_linear(linear) {}

  const char* op;
  Tensor weight;  // contiguous
  Int8Epilogue epilogue;
  Conv2dOptions options;
  bool is_linear;

  Shape result_shape(const Shape& x) const {
    if (!is_linear) return conv2d_shape(x, weight.shape(), options);
    Shape y = x;
    if (x.empty() || x.back() != weight.dim(1))
      throw ShapeError(str('[', op, "] x ", x, ": expected (..., ", weight.dim(1), ") for weight ",
                           weight.shape()));
    y.back() = weight.dim(0);
    return y;
  }
  Int8Geometry geometry(const Shape& x) const {
    const Shape y = result_shape(x);
    if (is_linear)
      return {.n = numel_of(x) / x.back(), .c_in = x.back(), .c_out = y.back(), .is_linear = true};
    return {.n = x[0],
            .c_in = x[1],
            .h_in = x[2],
            .w_in = x[3],
            .c_out = y[1],
            .h_out = y[2],
            .w_out = y[3],
            .kernel_h = weight.dim(2),
            .kernel_w = weight.dim(3),
            .options = options};
  }

  /// What runs for a shape; an empty pointer says that it is the kernel of our own.
  std::shared_ptr<const LibraryInt8Kernel> library_kernel(const Shape& x) const {
    Shape key = is_linear ? Shape{numel_of(x)} : x;
    key.push_back(num_threads());
    const std::lock_guard lock(mutex);
    const auto [slot, is_new] = kernels.try_emplace(std::move(key));
    if (is_new)
      slot->second = LibraryInt8Kernel::make(weight.data<int8_t>(), geometry(x), epilogue);
    return slot->second;
  }
  const ExactInt8Kernel& exact_kernel(const Int8Geometry& g) const {
    const std::lock_guard lock(mutex);
    if (!exact) exact = std::make_unique<ExactInt8Kernel>(weight.data<int8_t>(), g);
    return *exact;
  }

  mutable std::mutex mutex = {};
  mutable std::map<Shape, std::shared_ptr<const LibraryInt8Kernel>> kernels = {};
  mutable std::unique_ptr<const ExactInt8Kernel> exact = {};
};

Int8Product::Int8Product(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Int8Product::~Int8Product() = default;
Int8Product::Int8Product(Int8Product&&) noexcept = default;
Int8Product& Int8Product::operator=(Int8Product&&) noexcept = default;

Tensor Int8Product::empty_result(const Tensor& x) const {
  const Shape shape = parts_->result_shape(x.shape());
  return parts_->is_linear ? Tensor::empty(shape, parts_->epilogue.output)
                           : Tensor::empty_channels_last(shape, parts_->epilogue.output);
}

void Int8Product::check(const Tensor& x, const Tensor& residual, const Tensor& y) const {
  const char* const op = parts_->op;
  const Int8Epilogue& e = parts_->epilogue;
  const auto lies_well = [&](const Tensor& t) {
    return parts_->is_linear ? t.is_contiguous() : t.is_channels_last();
  };
  const auto require = [&](const char* name, const Tensor& t, const Shape& shape, DType dtype) {
    if (t.defined() && t.shape() == shape && t.dtype() == dtype && lies_well(t)) return;
    throw ShapeError(str('[', op, "] ", name, ' ', t.defined() ? t.text() : "undefined",
                         ": expected ", name_of(dtype), ' ', shape,
                         parts_->is_linear ? ", contiguous" : ", channels last"));
  };
  const Shape shape = parts_->result_shape(x.shape());
  require("x", x, x.shape(), e.input);
  require("y", y, shape, e.output);
  if (residual.defined() != e.adds_residual)
    throw ShapeError(str('[', op, "] residual: expected ", e.adds_residual ? "one" : "none"));
  if (e.adds_residual) require("residual", residual, shape, e.residual);
}

void Int8Product::run(const Tensor& x, const Tensor& residual, Tensor& y) const {
  check(x, residual, y);
  const Int8Geometry g = parts_->geometry(x.shape());
  const auto library = parts_->library_kernel(x.shape());
  if (!library) {
    parts_->exact_kernel(g).run(g, parts_->epilogue, x.raw(),
                                residual.defined() ? residual.raw() : nullptr, y.raw());
    return;
  }
  if (residual.defined() && residual.raw() != y.raw())
    std::memcpy(y.raw(), residual.raw(), static_cast<size_t>(y.bytes()));
  library->run(x.raw(), y.raw());
}

Tensor Int8Product::run(const Tensor& x, const Tensor& residual) const {
  Tensor y = empty_result(x);
  run(x, residual, y);
  return y;
}

Tensor Int8Product::reference(const Tensor& x, const Tensor& residual) const {
  Tensor y = empty_result(x);
  check(x, residual, y);
  const Int8Geometry g = parts_->geometry(x.shape());
  const auto* const w = parts_->weight.data<int8_t>();
  const void* const added = residual.defined() ? residual.raw() : nullptr;
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t channel = i % g.c_out, column = i / g.c_out % g.w_out,
                  row = i / g.c_out / g.w_out % g.h_out, n = i / g.c_out / g.w_out / g.h_out;
    const int32_t sum = plain_sum(g, parts_->epilogue, w, x.raw(), n, row, column, channel);
    write_result(parts_->epilogue, sum, channel, added, y.raw(), i);
  }
  return y;
}

std::string Int8Product::implementation(const Shape& x) const {
  const auto library = parts_->library_kernel(x);
  return library ? library->name() : str("exact:", name_of(cpu_level()));
}

Int8Conv2d::Int8Conv2d(const Int8Layer& layer, const Conv2dOptions& options)
    : Int8Product([&] {
        check_layer("int8_conv2d", layer, 4);
        return std::make_unique<Parts>("int8_conv2d", layer, options, /*linear=*/false);
      }()) {}

Int8Linear::Int8Linear(const Int8Layer& layer)
    : Int8Product([&] {
        check_layer("int8_linear", layer, 2);
        return std::make_unique<Parts>("int8_linear", layer, Conv2dOptions{}, /*linear=*/true);
      }()) {}

}  // namespace vtrain
