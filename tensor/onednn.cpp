#include "tensor/onednn.h"

#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "tensor/cpu_level.h"
#include "tensor/error.h"
#include "tensor/parallel.h"
#include "tensor/str.h"

namespace vtrain::onednn {
namespace {

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;
using Dims = dnnl::memory::dims;

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

struct Key {
  Matmul matmul;
  int threads = 1;
  friend bool operator==(const Key&, const Key&) = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    const Matmul& x = key.matmul;
    size_t h = static_cast<size_t>(key.threads) * 2 + (x.has_bias ? 1 : 0);
    for (const int64_t v :
         {x.batch, x.m, x.k, x.n, x.a_batch, x.a_row, x.a_column, x.b_batch, x.b_row, x.b_column}) {
      h = (h ^ static_cast<size_t>(v)) * 0x100000001B3;
    }
    return h;
  }
};

struct Primitive {
  dnnl::memory::desc a, b, bias, c;
  dnnl::matmul::primitive_desc description;
  dnnl::matmul matmul;
};

Primitive make(const Matmul& x) {
  Primitive p;
  if (x.batch == 1) {
    p.a = {{x.m, x.k}, Type::f32, Dims{x.a_row, x.a_column}};
    p.b = {{x.k, x.n}, Type::f32, Dims{x.b_row, x.b_column}};
    p.bias = {{1, x.n}, Type::f32, Dims{x.n, 1}};
    p.c = {{x.m, x.n}, Type::f32, Dims{x.n, 1}};
  } else {
    p.a = {{x.batch, x.m, x.k}, Type::f32, Dims{x.a_batch, x.a_row, x.a_column}};
    p.b = {{x.batch, x.k, x.n}, Type::f32, Dims{x.b_batch, x.b_row, x.b_column}};
    p.bias = {{1, 1, x.n}, Type::f32, Dims{x.n, x.n, 1}};
    p.c = {{x.batch, x.m, x.n}, Type::f32, Dims{x.m * x.n, x.n, 1}};
  }
#if DNNL_VERSION_MAJOR >= 3
  p.description = x.has_bias ? dnnl::matmul::primitive_desc(cpu(), p.a, p.b, p.bias, p.c)
                             : dnnl::matmul::primitive_desc(cpu(), p.a, p.b, p.c);
#else
  const dnnl::matmul::desc wanted =
      x.has_bias ? dnnl::matmul::desc(p.a, p.b, p.bias, p.c) : dnnl::matmul::desc(p.a, p.b, p.c);
  p.description = dnnl::matmul::primitive_desc(wanted, cpu());
#endif
  p.matmul = dnnl::matmul(p.description);
  return p;
}

const Primitive& cached(const Matmul& matmul) {
  static std::mutex mutex;
  static std::unordered_map<Key, std::unique_ptr<const Primitive>, KeyHash> cache;
  const std::lock_guard lock(mutex);
  std::unique_ptr<const Primitive>& slot = cache[{matmul, num_threads()}];
  if (!slot) slot = std::make_unique<const Primitive>(make(matmul));
  return *slot;
}

dnnl::memory view(const dnnl::memory::desc& desc, const float* data) {
  return {desc, cpu(), const_cast<float*>(data)};  // oneDNN has no const memory
}

}  // namespace

void run(const Matmul& matmul, const float* a, const float* b, const float* bias, float* c) {
  try {
    const Primitive& p = cached(matmul);
    std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, view(p.a, a)},
                                                    {DNNL_ARG_WEIGHTS, view(p.b, b)},
                                                    {DNNL_ARG_DST, view(p.c, c)}};
    if (matmul.has_bias) arguments.insert({DNNL_ARG_BIAS, view(p.bias, bias)});
    p.matmul.execute(stream(), arguments);
    stream().wait();
  } catch (const dnnl::error& error) {
    throw Error(str("oneDNN ", version(), " refused a matmul of ", matmul.batch, " x (", matmul.m,
                    ", ", matmul.k, ") (", matmul.k, ", ", matmul.n, "): ", error.what()));
  }
}

std::string implementation(const Matmul& matmul) {
  return cached(matmul).description.impl_info_str();
}

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
