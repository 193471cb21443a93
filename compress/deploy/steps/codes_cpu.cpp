// The borders between reals and codes, and pools on codes.
#include <algorithm>

#include "compress/deploy/codes.h"
#include "compress/deploy/plan_step.h"
#include "tensor/ops/pool.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kCodeGrain = 16384;  // elements worth a thread

/// f on the elements of codes as what they are.
template <class F>
void with_codes(const Tensor& codes, const F& f) {
  if (codes.dtype() == DType::i8) {
    f(codes.data<int8_t>());
  } else {
    f(codes.data<uint8_t>());
  }
}
uint8_t* bytes_of(Tensor& codes) { return reinterpret_cast<uint8_t*>(codes.raw()); }

const QuantizedType& codes_of(const PlanValues& values, int v) {
  return values[static_cast<size_t>(v)].codes.value();
}

// --- borders -------------------------------------------------------------------------------------

class QuantizeCall final : public PlanCall {
 public:
  QuantizeCall(std::string layers, const QuantizedType& type, Tensor x, Tensor y)
      : layers_(std::move(layers)), codes_(type), x_(std::move(x)), y_(std::move(y)) {}
  void run() override {
    const float* const x = x_.data<float>();
    uint8_t* const y = bytes_of(y_);
    parallel_for(x_.numel(), kCodeGrain, [&](int64_t begin, int64_t end) {
      codes_.write(x + begin, end - begin, y + begin);
    });
    codes_.check(layers_);
  }
  std::string kernel() const override { return "quantize"; }

 private:
  std::string layers_;
  CodeWriter codes_;
  Tensor x_, y_;
};

class DequantizeCall final : public PlanCall {
 public:
  DequantizeCall(const QuantizedType& type, Tensor x, Tensor y)
      : type_(type), x_(std::move(x)), y_(std::move(y)) {}
  void run() override {
    float* const y = y_.data<float>();
    with_codes(x_, [&](const auto* x) {
      parallel_for(x_.numel(), kCodeGrain, [&](int64_t begin, int64_t end) {
        write_reals(x + begin, type_, end - begin, y + begin);
      });
    });
  }
  std::string kernel() const override { return "dequantize"; }

 private:
  QuantizedType type_;
  Tensor x_, y_;
};

/// Both go element by element through memory of one order.
class BorderStep final : public PlanStep {
 public:
  BorderStep(const Graph::Node& node, const QuantizedType& type)
      : PlanStep(node, {node.inputs[0]}), type_(type), gives_codes_(node.op.name == "quantize") {}
  bool reads(size_t, const Tensor& x, const Tensor& y) const override {
    return x.strides() == y.strides();
  }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    if (gives_codes_) return std::make_unique<QuantizeCall>(layers(), type_, inputs[0], output);
    return std::make_unique<DequantizeCall>(type_, inputs[0], output);
  }

 private:
  QuantizedType type_;
  bool gives_codes_;
};

// --- pools ---------------------------------------------------------------------------------------

/// The largest code is that of the largest real.
template <class T>
void max_of_codes(const PoolWindows& windows, int64_t channels, int64_t begin, int64_t end,
                  const T* x, T* y) {
  const PoolAxis &rows = windows.rows, &columns = windows.columns;
  for (int64_t r = begin; r < end; ++r) {
    const T* const image = x + r / rows.out * rows.in * columns.in * channels;
    const auto i = static_cast<size_t>(r % rows.out);
    for (size_t j = 0; j < static_cast<size_t>(columns.out); ++j) {
      T* const to = y + (r * columns.out + static_cast<int64_t>(j)) * channels;
      const auto pixel = [&](int64_t h, int64_t w) {
        return image + (h * columns.in + w) * channels;
      };
      std::copy_n(pixel(rows.begin[i], columns.begin[j]), channels, to);
      for (int64_t h = rows.begin[i]; h < rows.end[i]; ++h) {
        for (int64_t w = columns.begin[j]; w < columns.end[j]; ++w) {
          const T* const from = pixel(h, w);
          for (int64_t c = 0; c < channels; ++c) to[c] = std::max(to[c], from[c]);
        }
      }
    }
  }
}

class CodePoolCall final : public PlanCall {
 public:
  CodePoolCall(PoolWindows windows, Tensor x, Tensor y)
      : windows_(std::move(windows)), x_(std::move(x)), y_(std::move(y)) {}
  void run() override {
    const int64_t rows = x_.dim(0) * windows_.rows.out, channels = x_.dim(1);
    with_codes(x_, [&]<class T>(const T* x) {
      T* const y = y_.data<T>();
      parallel_for(
          rows, 1 + kCodeGrain * rows / std::max<int64_t>(x_.numel(), 1),
          [&](int64_t begin, int64_t end) { max_of_codes(windows_, channels, begin, end, x, y); });
    });
  }
  std::string kernel() const override { return "max pool of codes"; }

 private:
  PoolWindows windows_;
  Tensor x_, y_;
};

class CodePoolStep final : public PlanStep {
 public:
  using WindowsOfCodes = std::function<PoolWindows(const Shape& x)>;
  CodePoolStep(const Graph::Node& node, WindowsOfCodes windows)
      : PlanStep(node, {node.inputs[0]}), windows_(std::move(windows)) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_channels_last(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<CodePoolCall>(windows_(inputs[0].shape()), inputs[0], output);
  }

 private:
  WindowsOfCodes windows_;
};

std::unique_ptr<PlanStep> sliding_maximum(const Graph::Node& node, const PlanValues&) {
  const auto n = [&](const char* name) { return integer(node, name); };
  const Pool2dOptions options{.kernel = {n("kernel_h"), n("kernel_w")},
                              .stride = {n("stride_h"), n("stride_w")},
                              .padding = {n("padding_h"), n("padding_w")},
                              .ceil_mode = n("ceil_mode") != 0};
  return std::make_unique<CodePoolStep>(
      node, [options](const Shape& x) { return sliding_windows("pool of a plan", x, options); });
}
std::unique_ptr<PlanStep> adaptive_maximum(const Graph::Node& node, const PlanValues&) {
  const Extent2d size{integer(node, "h"), integer(node, "w")};
  return std::make_unique<CodePoolStep>(
      node, [size](const Shape& x) { return adaptive_windows("pool of a plan", x, size); });
}

// --- sums over an image, and the mean ------------------------------------------------------------

/// The sum of an image's codes is exact; it becomes a real and is scaled, each rounded once.
class CodeSumCall final : public PlanCall {
 public:
  CodeSumCall(std::string layers, const QuantizedType& type, float factor,
              const std::optional<QuantizedType>& result, Tensor x, Tensor y)
      : layers_(std::move(layers)),
        type_(type),
        factor_(factor),
        x_(std::move(x)),
        y_(std::move(y)) {
    if (result) codes_.emplace(*result);
  }
  void run() override {
    const int64_t images = x_.dim(0), channels = x_.dim(1), area = x_.dim(2) * x_.dim(3);
    with_codes(x_, [&](const auto* x) {
      parallel_for(images, 1 + kCodeGrain / std::max<int64_t>(area * channels, 1),
                   [&](int64_t begin, int64_t end) {
                     std::vector<int32_t> sums(static_cast<size_t>(channels));
                     std::vector<float> reals(static_cast<size_t>(channels));
                     for (int64_t n = begin; n < end; ++n) {
                       sum(x + n * area * channels, area, channels, sums.data());
                       finish(sums, area, reals.data());
                       if (codes_) {
                         codes_->write(reals.data(), channels, bytes_of(y_) + n * channels);
                       } else {
                         std::ranges::copy(reals, y_.data<float>() + n * channels);
                       }
                     }
                   });
    });
    if (codes_) codes_->check(layers_);
  }
  std::string kernel() const override { return "sum of codes"; }

 private:
  template <class T>
  static void sum(const T* x, int64_t area, int64_t channels, int32_t* sums) {
    std::fill_n(sums, channels, 0);
    for (int64_t i = 0; i < area; ++i) {
      for (int64_t c = 0; c < channels; ++c) sums[c] += x[i * channels + c];
    }
  }
  void finish(const std::vector<int32_t>& sums, int64_t area, float* reals) const {
    const auto zeros = static_cast<int32_t>(area * type_.range.zero_point);
    for (size_t c = 0; c < sums.size(); ++c)
      reals[c] = static_cast<float>(sums[c] - zeros) * type_.scale * factor_;
  }

  std::string layers_;
  QuantizedType type_;
  float factor_;
  std::optional<CodeWriter> codes_;
  Tensor x_, y_;
};

class CodeSumStep final : public PlanStep {
 public:
  CodeSumStep(const Graph::Node& node, const QuantizedType& type)
      : PlanStep(node, {node.inputs[0]}), type_(type) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_channels_last(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<CodeSumCall>(layers(), type_, factor_, result_, inputs[0], output);
  }

 protected:
  /// What makes a mean of the sum, and the rounding of that.
  bool absorb(const Graph::Node& node, size_t, const PlanValues& values) override {
    if (result_) return false;
    if (node.op.name == "quantize") {
      result_ = codes_of(values, node.output);
      return true;
    }
    if (node.op.name != "multiply_scalar" || factor_ != 1) return false;
    factor_ = static_cast<float>(attribute(node, "value"));
    return true;
  }

 private:
  QuantizedType type_;
  float factor_ = 1;
  std::optional<QuantizedType> result_;
};

const RegisteredStep registered[] = {
    {"quantize",
     [](const Graph::Node& node, const PlanValues& values) {
       return std::make_unique<BorderStep>(node, codes_of(values, node.output));
     }},
    {"dequantize",
     [](const Graph::Node& node, const PlanValues& values) {
       return std::make_unique<BorderStep>(node, codes_of(values, node.inputs[0]));
     }},
    {"int8_max_pool2d", sliding_maximum},
    {"int8_adaptive_max_pool2d", adaptive_maximum},
    {"int8_sum", [](const Graph::Node& node, const PlanValues& values) {
       return std::make_unique<CodeSumStep>(node, codes_of(values, node.inputs[0]));
     }}};

}  // namespace
}  // namespace vtrain
