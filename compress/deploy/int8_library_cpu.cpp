// oneDNN's integer convolution and matmul. Units are those of 2.6: one output scale per channel
// with the division by the output's scale in it, and the bias in units of the sum.
#include <dnnl.hpp>
#include <unordered_map>
#include <utility>

#include "compress/deploy/int8_parts.h"
#include "tensor/allocator.h"
#include "tensor/cpu_level.h"
#include "tensor/onednn.h"

namespace vtrain {

#if DNNL_VERSION_MAJOR >= 3

// 3.x takes scales apart, at every call, and its attributes have other names: until that is written
// and tested there, our own kernel runs.
std::shared_ptr<const LibraryInt8Kernel> LibraryInt8Kernel::make(const int8_t*, const Int8Geometry&,
                                                                 const Int8Epilogue&) {
  return {};
}

#else

namespace {

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

const dnnl::engine& cpu() {
  static const dnnl::engine engine = [] {
    onednn::version();  // sets the library's instruction limit to ours first
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream s(cpu());
  return s;
}

Type type_of(DType dtype) {
  switch (dtype) {
    case DType::u8:
      return Type::u8;
    case DType::i8:
      return Type::s8;
    case DType::i32:
      return Type::s32;
    default:
      return Type::f32;
  }
}

dnnl::primitive_attr attributes_of(const Int8Epilogue& e) {
  dnnl::primitive_attr a;
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (e.input_zero_point != 0) a.set_zero_points(DNNL_ARG_SRC, 0, {e.input_zero_point});
  if (e.output == DType::i32) return a;
  a.set_output_scales(1 << 1, e.scale);

  dnnl::post_ops ops;
  if (e.adds_residual) {
    if (e.residual_zero_point == 0) {
      ops.append_sum(e.residual_scale, type_of(e.residual));
    } else {
      ops.append_sum(e.residual_scale, e.residual_zero_point, type_of(e.residual));
    }
  }
  // Saturation does the rest where the codes are all that the dtype has.
  float floor = e.floor, ceiling = e.ceiling;
  if (e.output != DType::f32) {
    const float lowest = e.output == DType::u8 ? 0 : -128, highest = lowest + 255;
    const auto zero = static_cast<float>(e.output_zero_point);
    if (e.low > lowest) floor = std::max(floor, e.low - zero);
    if (e.high < highest) ceiling = std::min(ceiling, e.high - zero);
    if (floor <= lowest - zero) floor = -std::numeric_limits<float>::infinity();
    if (ceiling >= highest - zero) ceiling = std::numeric_limits<float>::infinity();
  }
  const float most = std::numeric_limits<float>::max();
  if (std::isinf(ceiling) && floor == 0) {
    ops.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
  } else if (!std::isinf(floor) || !std::isinf(ceiling)) {
    ops.append_eltwise(1, dnnl::algorithm::eltwise_clip, std::max(floor, -most),
                       std::min(ceiling, most));
  }
  a.set_post_ops(ops);
  if (e.output_zero_point != 0) a.set_zero_points(DNNL_ARG_DST, 0, {e.output_zero_point});
  return a;
}

class OneDnnInt8 final : public LibraryInt8Kernel {
 public:
  template <class Description>
  OneDnnInt8(const Description& d, const Desc& plain, const int8_t* weight, const Int8Epilogue& e)
      : primitive_(d.get()),
        name_(d.impl_info_str()),
        x_(d.src_desc()),
        y_(d.dst_desc()),
        scratchpad_(d.scratchpad_desc()),
        weight_(d.weights_desc(), cpu()) {
    // oneDNN has no const memory; the reorder only reads it.
    dnnl::memory from(plain, cpu(), const_cast<int8_t*>(weight));
    dnnl::reorder(from, weight_).execute(stream(), from, weight_);
    stream().wait();
    if (e.bias.empty()) return;
    bias_values_ = e.bias;
    bias_ = dnnl::memory(d.query_md(dnnl::query::weights_md, 1), cpu(), bias_values_.data());
  }

  void run(const void* x, void* y) const override {
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, dnnl::memory(x_, cpu(), const_cast<void*>(x))},
        {DNNL_ARG_WEIGHTS, weight_},
        {DNNL_ARG_DST, dnnl::memory(y_, cpu(), y)},
        {DNNL_ARG_SCRATCHPAD, dnnl::memory(scratchpad_, cpu(), workspace(scratchpad_.get_size()))}};
    if (!bias_values_.empty()) arguments.insert({DNNL_ARG_BIAS, bias_});
    primitive_.execute(stream(), arguments);
    stream().wait();
  }
  const std::string& name() const override { return name_; }

 private:
  static std::byte* workspace(size_t bytes) {
    static thread_local std::shared_ptr<std::byte> block;
    static thread_local size_t size = 0;
    if (bytes > size) {
      block = allocate_cpu(bytes);
      size = bytes;
    }
    return block.get();
  }

  dnnl::primitive primitive_;
  std::string name_;
  Desc x_, y_, scratchpad_;
  dnnl::memory weight_, bias_;
  std::vector<float> bias_values_;
};

/// The reference loops are slower than ours.
bool is_reference(const std::string& name) { return name.find("ref") != std::string::npos; }

std::shared_ptr<const LibraryInt8Kernel> convolution(const int8_t* weight, const Int8Geometry& g,
                                                     const Int8Epilogue& e) {
  const Conv2dOptions& o = g.options;
  const bool is_grouped = o.groups > 1;
  const Dims sizes =
      is_grouped ? Dims{o.groups, g.c_out / o.groups, g.c_in / o.groups, g.kernel_h, g.kernel_w}
                 : Dims{g.c_out, g.c_in, g.kernel_h, g.kernel_w};
  const Desc x({g.n, g.c_in, g.h_in, g.w_in}, type_of(e.input), Tag::nhwc),
      y({g.n, g.c_out, g.h_out, g.w_out}, type_of(e.output), Tag::nhwc),
      w(sizes, Type::s8, Tag::any), plain(sizes, Type::s8, is_grouped ? Tag::goihw : Tag::oihw),
      bias({g.c_out}, Type::f32, Tag::x);
  const Dims strides{o.stride.h, o.stride.w}, dilation{o.dilation.h - 1, o.dilation.w - 1},
      before{o.padding.top, o.padding.left}, after{o.padding.bottom, o.padding.right};
  constexpr auto kInference = dnnl::prop_kind::forward_inference;
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  using Forward = dnnl::convolution_forward;
  const Forward::desc wanted =
      e.bias.empty()
          ? Forward::desc(kInference, kDirect, x, w, y, strides, dilation, before, after)
          : Forward::desc(kInference, kDirect, x, w, bias, y, strides, dilation, before, after);
  const Forward::primitive_desc d(wanted, attributes_of(e), cpu());
  if (is_reference(d.impl_info_str())) return {};
  return std::make_shared<OneDnnInt8>(d, plain, weight, e);
}

std::shared_ptr<const LibraryInt8Kernel> product(const int8_t* weight, const Int8Geometry& g,
                                                 const Int8Epilogue& e) {
  const Desc x({g.n, g.c_in}, type_of(e.input), Tag::ab),
      y({g.n, g.c_out}, type_of(e.output), Tag::ab), w({g.c_in, g.c_out}, Type::s8, Tag::any),
      plain({g.c_in, g.c_out}, Type::s8, Tag::ba), bias({1, g.c_out}, Type::f32, Tag::ab);
  const dnnl::matmul::primitive_desc d(
      e.bias.empty() ? dnnl::matmul::desc(x, w, y) : dnnl::matmul::desc(x, w, bias, y),
      attributes_of(e), cpu());
  if (is_reference(d.impl_info_str())) return {};
  return std::make_shared<OneDnnInt8>(d, plain, weight, e);
}

}  // namespace

std::shared_ptr<const LibraryInt8Kernel> LibraryInt8Kernel::make(const int8_t* weight,
                                                                 const Int8Geometry& g,
                                                                 const Int8Epilogue& e) {
  // Our levels name VNNI together with bf16; without it the library's 8-bit pairs saturate.
  if (cpu_level() < CpuLevel::kAvx512Bf16) return {};
  try {
    return g.is_linear ? product(weight, g, e) : convolution(weight, g, e);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return {};
    throw Error(str("oneDNN ", onednn::version(), " refused an integer layer of ", g.c_in, " to ",
                    g.c_out, " channels: ", error.what()));
  }
}

#endif

}  // namespace vtrain
