#include <algorithm>
#include <cstring>
#include <dnnl.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compress/deploy/product.h"
#include "tensor/allocator.h"
#include "tensor/onednn.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;
using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;

const dnnl::engine& engine() {
  static const dnnl::engine cpu = [] {
    onednn::version();  // applies our limit on instructions before the first primitive
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream s(engine());
  return s;
}

Type type_of(DType dtype) {
  if (dtype == DType::f32) return Type::f32;
  if (dtype == DType::bf16) return Type::bf16;
  throw Error(str("plan: product: expected f32 or bf16, got ", name_of(dtype)));
}

void append(dnnl::post_ops& ops, dnnl::algorithm algorithm, double alpha, double beta) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, static_cast<float>(alpha), static_cast<float>(beta));
#else
  ops.append_eltwise(1.0F, algorithm, static_cast<float>(alpha), static_cast<float>(beta));
#endif
}

void append(dnnl::post_ops& ops, const Epilogue& epilogue) {
  using dnnl::algorithm;
  switch (epilogue.activation) {
    case PlanActivation::kNone:
      return;
    case PlanActivation::kRelu:
      return append(ops, algorithm::eltwise_relu, 0, 0);
    case PlanActivation::kRelu6:
      return append(ops, algorithm::eltwise_clip, 0, 6);
    case PlanActivation::kLeakyRelu:
      return append(ops, algorithm::eltwise_relu, epilogue.slope, 0);
    case PlanActivation::kSigmoid:
      return append(ops, algorithm::eltwise_logistic, 0, 0);
    case PlanActivation::kTanh:
      return append(ops, algorithm::eltwise_tanh, 0, 0);
    case PlanActivation::kSilu:
      return append(ops, algorithm::eltwise_swish, 1, 0);
    case PlanActivation::kGelu:
      return append(ops, algorithm::eltwise_gelu_erf, 0, 0);
    case PlanActivation::kGeluTanh:
      return append(ops, algorithm::eltwise_gelu_tanh, 0, 0);
    case PlanActivation::kHardSigmoid:  // 2.6 knows it as a line between two bounds only
      append(ops, algorithm::eltwise_linear, 1.0 / 6, 0.5);
      return append(ops, algorithm::eltwise_clip, 0, 1);
    case PlanActivation::kHardSwish:  // 3.x takes the line's numbers, 2.6 has them built in
      return append(ops, algorithm::eltwise_hardswish, 1.0 / 6, 0.5);
  }
}

/// What a primitive is made with: its epilogue, and scratchpads of ours.
dnnl::primitive_attr attributes(const Epilogue& epilogue, bool adds_in_place,
                                const Desc& residual) {
  dnnl::post_ops ops;
  if (epilogue.has_residual) {
    if (adds_in_place) {
      ops.append_sum(1.0F);
    } else {
      ops.append_binary(dnnl::algorithm::binary_add, residual);
    }
  }
  append(ops, epilogue);
  dnnl::primitive_attr a;
  a.set_post_ops(ops);
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return a;
}

dnnl::memory memory_of(const Desc& desc, const Tensor& t) {
  return {desc, engine(), const_cast<std::byte*>(t.raw())};  // oneDNN has no const memory
}

}  // namespace

struct ProductWeights::Layouts {
  std::vector<std::pair<Desc, std::shared_ptr<std::byte>>> packed;

  /// `plain` as `wanted` lies: moved once.
  dnnl::memory of(const Desc& wanted, const Desc& plain, const Tensor& weight) {
    for (const auto& [desc, data] : packed) {
      if (desc == wanted) return {wanted, engine(), data.get()};
    }
    const std::shared_ptr<std::byte> data = allocate_cpu(wanted.get_size());
    dnnl::memory from = memory_of(plain, weight), to(wanted, engine(), data.get());
    dnnl::reorder(from, to).execute(stream(), from, to);
    stream().wait();
    packed.emplace_back(wanted, data);
    return to;
  }
};

ProductWeights::ProductWeights(const Tensor& weight, const Tensor& bias)
    : layouts_(std::make_unique<Layouts>()) {
  set(weight, bias);
}
ProductWeights::~ProductWeights() = default;
ProductWeights::ProductWeights(ProductWeights&&) noexcept = default;
ProductWeights& ProductWeights::operator=(ProductWeights&&) noexcept = default;

void ProductWeights::set(const Tensor& weight, const Tensor& bias) {
  weight_ = weight.to(DType::f32).contiguous().clone();
  bias_ = bias.defined() ? bias.to(DType::f32).contiguous().clone() : Tensor();
}

namespace {

class ProductCall final : public PlanCall {
 public:
  /// Keeps the tensors alive that the arguments point into.
  template <class Description>
  ProductCall(const Description& description, std::string way, const ProductOperands& operands,
              const Tensor& bias, PlanScratch& scratch)
      : primitive_(description.get()),
        name_(way + ' ' + description.impl_info_str()),
        operands_(operands),
        bias_(bias),
        scratch_(scratch),
        scratchpad_(description.scratchpad_desc(), engine(), nullptr) {
    scratch.reserve(description.scratchpad_desc().get_size());
    arguments_.insert({DNNL_ARG_SCRATCHPAD, scratchpad_});
  }

  void add(int argument, const dnnl::memory& memory) { arguments_.insert({argument, memory}); }

  void run() override {
    scratchpad_.set_data_handle(scratch_.data());
    primitive_.execute(stream(), arguments_);
    stream().wait();
  }
  std::string kernel() const override { return name_; }

 private:
  dnnl::primitive primitive_;
  std::string name_;
  ProductOperands operands_;
  Tensor bias_;
  PlanScratch& scratch_;
  dnnl::memory scratchpad_;  // a handle: the arguments hold another one of the same memory
  std::unordered_map<int, dnnl::memory> arguments_;
};

/// As oneDNN sees the operands, alike for both kinds of product.
struct Descs {
  Desc x, w, plain_w, bias, y;
};

template <class Description>
std::unique_ptr<PlanCall> finished(const Description& description, const std::string& way,
                                   const Descs& d, const ProductWeights& weights,
                                   const Epilogue& epilogue, bool adds_in_place,
                                   const ProductOperands& operands, PlanScratch& scratch) {
  auto call = std::make_unique<ProductCall>(description, way, operands, weights.bias(), scratch);
  call->add(DNNL_ARG_SRC, memory_of(d.x, operands.x));
  call->add(DNNL_ARG_WEIGHTS,
            weights.layouts().of(description.weights_desc(), d.plain_w, weights.weight()));
  call->add(DNNL_ARG_DST, memory_of(d.y, operands.y));
  if (weights.bias().defined()) call->add(DNNL_ARG_BIAS, memory_of(d.bias, weights.bias()));
  if (epilogue.has_residual && !adds_in_place) {
    call->add(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
              memory_of(d.y, operands.residual));
  }
  return call;
}

bool is_in_place(const ProductOperands& o) {
  return o.residual.defined() && o.residual.raw() == o.y.raw();
}

/// rows x in, both as matrices.
std::unique_ptr<PlanCall> matmul_call(const ProductWeights& weights, const Epilogue& epilogue,
                                      const ProductOperands& o, int64_t rows, int64_t row_stride,
                                      PlanScratch& scratch) {
  const int64_t in = weights.weight().numel() / weights.weight().dim(0),
                out = weights.weight().dim(0);
  const Type type = type_of(o.x.dtype());
  const Descs d{.x = {{rows, in}, type, Dims{row_stride, 1}},
                .w = {{in, out}, type, Tag::any},
                .plain_w = {{in, out}, Type::f32, Tag::ba},
                .bias = {{1, out}, Type::f32, Tag::ab},
                .y = {{rows, out}, type_of(o.y.dtype()), Tag::ab}};
  const bool adds_in_place = is_in_place(o), has_bias = weights.bias().defined();
  const dnnl::primitive_attr attr = attributes(epilogue, adds_in_place, d.y);
  using Matmul = dnnl::matmul;
#if DNNL_VERSION_MAJOR >= 3
  const auto description = has_bias ? Matmul::primitive_desc(engine(), d.x, d.w, d.bias, d.y, attr)
                                    : Matmul::primitive_desc(engine(), d.x, d.w, d.y, attr);
#else
  const Matmul::primitive_desc description(
      has_bias ? Matmul::desc(d.x, d.w, d.bias, d.y) : Matmul::desc(d.x, d.w, d.y), attr, engine());
#endif
  return finished(description, "matmul", d, weights, epilogue, adds_in_place, o, scratch);
}

std::unique_ptr<PlanCall> convolution_call(const ProductWeights& weights,
                                           const Conv2dOptions& options, const Epilogue& epilogue,
                                           const ProductOperands& o, PlanScratch& scratch) {
  const Tensor& w = weights.weight();
  const bool is_grouped = options.groups > 1;
  const Type type = type_of(o.x.dtype());
  const Dims w_dims =
      is_grouped ? Dims{options.groups, w.dim(0) / options.groups, w.dim(1), w.dim(2), w.dim(3)}
                 : Dims(w.shape());
  const Descs d{.x = {o.x.shape(), type, Tag::nhwc},
                .w = {w_dims, type, Tag::any},
                .plain_w = {w_dims, Type::f32, is_grouped ? Tag::goihw : Tag::oihw},
                .bias = {{w.dim(0)}, Type::f32, Tag::x},
                .y = {o.y.shape(), type_of(o.y.dtype()), Tag::nhwc}};
  const bool adds_in_place = is_in_place(o), has_bias = weights.bias().defined();
  const dnnl::primitive_attr attr = attributes(epilogue, adds_in_place, d.y);
  const Dims strides{options.stride.h, options.stride.w},
      dilation{options.dilation.h - 1, options.dilation.w - 1},
      before{options.padding.top, options.padding.left},
      after{options.padding.bottom, options.padding.right};
  using Forward = dnnl::convolution_forward;
  constexpr auto kInference = dnnl::prop_kind::forward_inference;
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  const auto description =
      has_bias ? Forward::primitive_desc(engine(), kInference, kDirect, d.x, d.w, d.bias, d.y,
                                         strides, dilation, before, after, attr)
               : Forward::primitive_desc(engine(), kInference, kDirect, d.x, d.w, d.y, strides,
                                         dilation, before, after, attr);
#else
  const Forward::desc wanted = has_bias ? Forward::desc(kInference, kDirect, d.x, d.w, d.bias, d.y,
                                                        strides, dilation, before, after)
                                        : Forward::desc(kInference, kDirect, d.x, d.w, d.y, strides,
                                                        dilation, before, after);
  const Forward::primitive_desc description(wanted, attr, engine());
#endif
  return finished(description, "convolution", d, weights, epilogue, adds_in_place, o, scratch);
}

std::string text_of(const ProductWeights& weights, const Epilogue& epilogue,
                    const ProductOperands& o) {
  return str(name_of(o.x.dtype()), " x", o.x.shape(), " w", weights.weight().shape(), " y",
             o.y.shape(), ' ', name_of(o.y.dtype()), " residual ", epilogue.has_residual,
             " activation ", static_cast<int>(epilogue.activation), " threads ", num_threads());
}

template <class Bind>
std::unique_ptr<PlanCall> named(const std::string& text, const Bind& bind) {
  try {
    return bind();
  } catch (const dnnl::error& error) {
    throw Error(
        str("oneDNN ", onednn::version(), " refused a fused product ", text, ": ", error.what()));
  }
}

}  // namespace

std::unique_ptr<PlanCall> bind_linear(const ProductWeights& weights, const Epilogue& epilogue,
                                      const ProductOperands& operands, PlanScratch& scratch) {
  const Tensor& x = operands.x;
  const int64_t in = x.dim(-1);
  int64_t stride = in;  // between rows: that of the last axis of several before the row itself
  for (size_t i = x.shape().size() - 1; i-- > 0;) {
    if (x.shape()[i] == 1) continue;
    stride = x.strides()[i];
    break;
  }
  return named(text_of(weights, epilogue, operands), [&] {
    return matmul_call(weights, epilogue, operands, x.numel() / in, stride, scratch);
  });
}

std::unique_ptr<PlanCall> bind_convolution(const ProductWeights& weights,
                                           const Conv2dOptions& options, const Epilogue& epilogue,
                                           const ProductOperands& operands, PlanScratch& scratch) {
  // 1x1 kernels too: as a matmul they take the same time within 2 % (every one of ResNet-50 and
  // MobileNetV2 at batch 1, f32, one AVX-512 core), so there is nothing to choose.
  return named(text_of(weights, epilogue, operands),
               [&] { return convolution_call(weights, options, epilogue, operands, scratch); });
}

}  // namespace vtrain
