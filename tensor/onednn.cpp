#include "tensor/onednn.h"

#include <dnnl.hpp>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tensor/allocator.h"
#include "tensor/cpu_level.h"
#include "tensor/error.h"
#include "tensor/parallel.h"
#include "tensor/str.h"

namespace vtrain::onednn {
namespace {

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;
using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;

dnnl::cpu_isa isa_of(CpuLevel level) {
  switch (level) {
    case CpuLevel::kBaseline:
      return dnnl::cpu_isa::sse41;
    case CpuLevel::kAvx2:
      return dnnl::cpu_isa::avx2;
    case CpuLevel::kAvx512:
      return dnnl::cpu_isa::avx512_core;
    case CpuLevel::kAvx512Bf16:
      return dnnl::cpu_isa::avx512_core_bf16;
    case CpuLevel::kAmx:
      return dnnl::cpu_isa::avx512_core_amx;
  }
  return dnnl::cpu_isa::sse41;
}

/// oneDNN reads its own instruction limit once, before its first primitive: it follows ours.
const dnnl::engine& cpu() {
  static const dnnl::engine engine = [] {
    const CpuLevel level = cpu_level();
    if (level != CpuLevel::kAmx) dnnl::set_max_cpu_isa(isa_of(level));
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

dnnl::stream& stream() {
  static thread_local dnnl::stream s(cpu());
  return s;
}

Type type_of(DType dtype) {
  if (dtype == DType::f32) return Type::f32;
  if (dtype == DType::bf16) return Type::bf16;
  throw Error(str("oneDNN: expected f32 or bf16, got ", name_of(dtype)));
}

/// What a primitive is made for, as numbers.
using Key = std::vector<int64_t>;
struct KeyHash {
  size_t operator()(const Key& key) const {
    size_t h = 0xCBF29CE484222325;
    for (const int64_t v : key) h = (h ^ static_cast<size_t>(v)) * 0x100000001B3;
    return h;
  }
};

Key key_of(const Matmul& x) {
  return {0,
          x.batch,
          x.m,
          x.k,
          x.n,
          x.a_batch,
          x.a_row,
          x.a_column,
          x.b_batch,
          x.b_row,
          x.b_column,
          x.c_row,
          x.c_column,
          x.has_bias,
          static_cast<int64_t>(x.dtype),
          static_cast<int64_t>(x.result),
          x.packs_b,
          num_threads()};
}

Key key_of(const Convolution& x, ConvolutionPass pass) {
  return {1 + static_cast<int64_t>(pass),
          x.n,
          x.c_in,
          x.h_in,
          x.w_in,
          x.c_out,
          x.h_out,
          x.w_out,
          x.kernel_h,
          x.kernel_w,
          x.stride_h,
          x.stride_w,
          x.dilation_h,
          x.dilation_w,
          x.top,
          x.bottom,
          x.left,
          x.right,
          x.groups,
          static_cast<int64_t>(x.dtype),
          x.has_bias,
          num_threads()};
}

/// An argument of a primitive: as it lies in our memory, and as the primitive wants it. Where the
/// two differ, it is moved through the workspace before or after.
struct Operand {
  int argument = 0;
  Desc ours, theirs;
  bool is_result = false;
  dnnl::reorder move = {};  // empty if ours == theirs
  size_t offset = 0;        // of theirs in the workspace
};

struct Prepared {
  dnnl::primitive primitive;
  std::string name;
  std::vector<Operand> operands;
  Desc scratchpad;
  size_t scratchpad_offset = 0, workspace = 0;  // bytes
};

constexpr size_t kAlignment = 64;
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <class Description>
Prepared prepared(const Description& description, std::vector<Operand> operands) {
  Prepared p;
  p.primitive = dnnl::primitive(description.get());
  p.name = description.impl_info_str();
  for (Operand& operand : operands) {
    if (operand.ours == operand.theirs) continue;
    const Desc &from = operand.is_result ? operand.theirs : operand.ours,
               &to = operand.is_result ? operand.ours : operand.theirs;
    operand.move = dnnl::reorder(dnnl::reorder::primitive_desc(cpu(), from, cpu(), to));
    operand.offset = p.workspace;
    p.workspace += aligned(operand.theirs.get_size());
  }
  p.operands = std::move(operands);
  p.scratchpad = description.scratchpad_desc();
  p.scratchpad_offset = p.workspace;
  p.workspace += aligned(p.scratchpad.get_size());
  return p;
}

/// Memory that one call at a time uses, per thread: it grows to what the largest primitive needs,
/// where the library's own scratchpads would add up over all primitives.
std::byte* workspace(size_t bytes) {
  static thread_local std::shared_ptr<std::byte> block;
  static thread_local size_t size = 0;
  if (bytes > size) {
    block.reset();
    block = allocate_cpu(bytes);
    size = bytes;
  }
  return block.get();
}

/// `data` in the order of the operands.
void execute(const Prepared& p, std::initializer_list<const void*> data) {
  std::byte* const own = workspace(p.workspace);
  std::unordered_map<int, dnnl::memory> arguments;
  const void* const* given = data.begin();
  for (const Operand& operand : p.operands) {
    void* const at = const_cast<void*>(*given++);  // oneDNN has no const memory
    const bool moves = static_cast<bool>(operand.move);
    const dnnl::memory theirs(operand.theirs, cpu(), moves ? own + operand.offset : at);
    if (moves && !operand.is_result) {
      dnnl::memory from(operand.ours, cpu(), at), to = theirs;
      operand.move.execute(stream(), from, to);
    }
    arguments.insert({operand.argument, theirs});
  }
  arguments.insert(
      {DNNL_ARG_SCRATCHPAD, dnnl::memory(p.scratchpad, cpu(), own + p.scratchpad_offset)});
  p.primitive.execute(stream(), arguments);
  given = data.begin();
  for (const Operand& operand : p.operands) {
    void* const at = const_cast<void*>(*given++);
    if (!operand.is_result || !operand.move) continue;
    dnnl::memory from = arguments.at(operand.argument), to(operand.ours, cpu(), at);
    operand.move.execute(stream(), from, to);
  }
  stream().wait();
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr a;
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return a;
}

Prepared make(const Matmul& x) {
  const Type in = type_of(x.dtype), out = type_of(x.result);
  Desc a, b, bias, c, ours_b, ours_c;
  if (x.batch == 1) {
    a = {{x.m, x.k}, in, Dims{x.a_row, x.a_column}};
    ours_b = {{x.k, x.n}, in, Dims{x.b_row, x.b_column}};
    b = x.packs_b ? Desc({x.k, x.n}, in, Tag::any) : ours_b;
    bias = {{1, x.n}, Type::f32, Dims{x.n, 1}};
    c = {{x.m, x.n}, out, Dims{x.n, 1}};
    // Kernels write rows; a result that lies by columns is turned afterwards.
    ours_c = x.c_row == 0 ? c : Desc({x.m, x.n}, out, Dims{x.c_row, x.c_column});
  } else {
    a = {{x.batch, x.m, x.k}, in, Dims{x.a_batch, x.a_row, x.a_column}};
    ours_b = b = {{x.batch, x.k, x.n}, in, Dims{x.b_batch, x.b_row, x.b_column}};
    bias = {{1, 1, x.n}, Type::f32, Dims{x.n, x.n, 1}};
    ours_c = c = {{x.batch, x.m, x.n}, out, Dims{x.m * x.n, x.n, 1}};
  }
#if DNNL_VERSION_MAJOR >= 3
  const auto description = x.has_bias
                               ? dnnl::matmul::primitive_desc(cpu(), a, b, bias, c, attributes())
                               : dnnl::matmul::primitive_desc(cpu(), a, b, c, attributes());
#else
  const dnnl::matmul::primitive_desc description(
      x.has_bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c), attributes(),
      cpu());
#endif
  std::vector<Operand> operands{
      {.argument = DNNL_ARG_SRC, .ours = a, .theirs = a},
      {.argument = DNNL_ARG_WEIGHTS, .ours = ours_b, .theirs = description.weights_desc()},
      {.argument = DNNL_ARG_DST, .ours = ours_c, .theirs = c, .is_result = true}};
  if (x.has_bias) operands.push_back({.argument = DNNL_ARG_BIAS, .ours = bias, .theirs = bias});
  return prepared(description, std::move(operands));
}

/// The arguments that all three passes of a convolution share.
struct ConvolutionParts {
  Desc x, w, bias, y, plain_w, plain_dw, dw;
  Dims strides, dilation, before, after;
  dnnl::convolution_forward::primitive_desc forward;
};

ConvolutionParts parts_of(const Convolution& x) {
  const Type type = type_of(x.dtype);
  const bool grouped = x.groups > 1;
  const Dims w = grouped
                     ? Dims{x.groups, x.c_out / x.groups, x.c_in / x.groups, x.kernel_h, x.kernel_w}
                     : Dims{x.c_out, x.c_in, x.kernel_h, x.kernel_w};
  const Tag plain = grouped ? Tag::goihw : Tag::oihw;
  ConvolutionParts p;
  p.x = {{x.n, x.c_in, x.h_in, x.w_in}, type, Tag::nhwc};
  p.y = {{x.n, x.c_out, x.h_out, x.w_out}, type, Tag::nhwc};
  p.w = {w, type, Tag::any};
  p.dw = {w, Type::f32, Tag::any};
  p.plain_w = {w, type, plain};
  p.plain_dw = {w, Type::f32, plain};
  p.bias = {{x.c_out}, Type::f32, Tag::x};
  p.strides = {x.stride_h, x.stride_w};
  p.dilation = {x.dilation_h - 1, x.dilation_w - 1};
  p.before = {x.top, x.left};
  p.after = {x.bottom, x.right};
  constexpr auto kTraining = dnnl::prop_kind::forward_training;
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  using Forward = dnnl::convolution_forward;
#if DNNL_VERSION_MAJOR >= 3
  p.forward = x.has_bias
                  ? Forward::primitive_desc(cpu(), kTraining, kDirect, p.x, p.w, p.bias, p.y,
                                            p.strides, p.dilation, p.before, p.after, attributes())
                  : Forward::primitive_desc(cpu(), kTraining, kDirect, p.x, p.w, p.y, p.strides,
                                            p.dilation, p.before, p.after, attributes());
#else
  const Forward::desc wanted = x.has_bias ? Forward::desc(kTraining, kDirect, p.x, p.w, p.bias, p.y,
                                                          p.strides, p.dilation, p.before, p.after)
                                          : Forward::desc(kTraining, kDirect, p.x, p.w, p.y,
                                                          p.strides, p.dilation, p.before, p.after);
  p.forward = Forward::primitive_desc(wanted, attributes(), cpu());
#endif
  return p;
}

template <class Backward>
typename Backward::primitive_desc backward(const ConvolutionParts& p, const Desc& first,
                                           const Desc& second) {
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(),      kDirect,  first,   second,    p.y,         p.strides,
          p.dilation, p.before, p.after, p.forward, attributes()};
#else
  return {typename Backward::desc(kDirect, first, second, p.y, p.strides, p.dilation, p.before,
                                  p.after),
          attributes(), cpu(), p.forward};
#endif
}

Prepared make(const Convolution& x, ConvolutionPass pass) {
  const ConvolutionParts p = parts_of(x);
  switch (pass) {
    case ConvolutionPass::kForward: {
      std::vector<Operand> operands{
          {.argument = DNNL_ARG_SRC, .ours = p.x, .theirs = p.x},
          {.argument = DNNL_ARG_WEIGHTS, .ours = p.plain_w, .theirs = p.forward.weights_desc()},
          {.argument = DNNL_ARG_DST, .ours = p.y, .theirs = p.y, .is_result = true}};
      if (x.has_bias)
        operands.push_back({.argument = DNNL_ARG_BIAS, .ours = p.bias, .theirs = p.bias});
      return prepared(p.forward, std::move(operands));
    }
    case ConvolutionPass::kGradX: {
      const auto d = backward<dnnl::convolution_backward_data>(p, p.x, p.w);
      return prepared(
          d, {{.argument = DNNL_ARG_DIFF_DST, .ours = p.y, .theirs = p.y},
              {.argument = DNNL_ARG_WEIGHTS, .ours = p.plain_w, .theirs = d.weights_desc()},
              {.argument = DNNL_ARG_DIFF_SRC, .ours = p.x, .theirs = p.x, .is_result = true}});
    }
    case ConvolutionPass::kGradW: {
      const auto d = backward<dnnl::convolution_backward_weights>(p, p.x, p.dw);
      return prepared(d, {{.argument = DNNL_ARG_DIFF_DST, .ours = p.y, .theirs = p.y},
                          {.argument = DNNL_ARG_SRC, .ours = p.x, .theirs = p.x},
                          {.argument = DNNL_ARG_DIFF_WEIGHTS,
                           .ours = p.plain_dw,
                           .theirs = d.diff_weights_desc(),
                           .is_result = true}});
    }
  }
  throw Error("oneDNN: a convolution has three passes");
}

template <class... Description>
const Prepared& cached(const Description&... description) {
  static std::mutex mutex;
  static std::unordered_map<Key, std::unique_ptr<const Prepared>, KeyHash> cache;
  const std::lock_guard lock(mutex);
  std::unique_ptr<const Prepared>& slot = cache[key_of(description...)];
  if (!slot) slot = std::make_unique<const Prepared>(make(description...));
  return *slot;
}

std::string text_of(const Matmul& x) {
  return str("a matmul of ", x.batch, " x (", x.m, ", ", x.k, ") (", x.k, ", ", x.n, ')');
}

void run(const Convolution& x, ConvolutionPass pass, std::initializer_list<const void*> data) {
  try {
    execute(cached(x, pass), data);
  } catch (const dnnl::error& error) {
    throw Error(str("oneDNN ", version(), " refused a convolution, pass ", static_cast<int>(pass),
                    ", of x ", Dims{x.n, x.c_in, x.h_in, x.w_in}, " to ", x.c_out,
                    " channels: ", error.what()));
  }
}

}  // namespace

void run(const Matmul& matmul, const void* a, const void* b, const float* bias, void* c) {
  try {
    const Prepared& p = cached(matmul);
    if (matmul.has_bias) {
      execute(p, {a, b, c, bias});
    } else {
      execute(p, {a, b, c});
    }
  } catch (const dnnl::error& error) {
    throw Error(str("oneDNN ", version(), " refused ", text_of(matmul), ": ", error.what()));
  }
}

void run_forward(const Convolution& conv, const void* x, const void* w, const float* bias,
                 void* y) {
  if (conv.has_bias) {
    run(conv, ConvolutionPass::kForward, {x, w, y, bias});
  } else {
    run(conv, ConvolutionPass::kForward, {x, w, y});
  }
}

// The backward passes know no bias: without this they would be made twice.
void run_grad_x(const Convolution& conv, const void* dy, const void* w, void* dx) {
  Convolution bare = conv;
  bare.has_bias = false;
  run(bare, ConvolutionPass::kGradX, {dy, w, dx});
}

// NOLINTNEXTLINE(readability-non-const-parameter): written through the library
void run_grad_w(const Convolution& conv, const void* dy, const void* x, float* dw) {
  Convolution bare = conv;
  bare.has_bias = false;
  run(bare, ConvolutionPass::kGradW, {dy, x, dw});
}

std::string implementation(const Matmul& matmul) { return cached(matmul).name; }
std::string implementation(const Convolution& conv, ConvolutionPass pass) {
  return cached(conv, pass).name;
}

bool computes_bf16() { return cpu_level() >= CpuLevel::kAvx512Bf16; }

std::string version() {
  const dnnl_version_t* const v = dnnl_version();
  cpu();  // applies our limit first
  std::string isa;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      isa = "sse41";
      break;
    case dnnl::cpu_isa::avx:
      isa = "avx";
      break;
    case dnnl::cpu_isa::avx2:
      isa = "avx2";
      break;
    case dnnl::cpu_isa::avx512_core:
      isa = "avx512_core";
      break;
    case dnnl::cpu_isa::avx512_core_vnni:
      isa = "avx512_core_vnni";
      break;
    case dnnl::cpu_isa::avx512_core_bf16:
      isa = "avx512_core_bf16";
      break;
    case dnnl::cpu_isa::avx512_core_amx:
      isa = "avx512_core_amx";
      break;
    default:
      isa = str("isa ", static_cast<int>(dnnl::get_effective_cpu_isa()));
      break;
  }
  return str(v->major, '.', v->minor, '.', v->patch, ' ', isa);
}

}  // namespace vtrain::onednn
