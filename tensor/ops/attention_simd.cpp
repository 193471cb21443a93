// One task is one (image, head); its scores never leave the cache. Lanes run over queries: scores
// are kept transposed, (L keys, 64 queries at a time), so that the softmax reduces over rows of
// vectors without any shuffle, mask and bias of a key are one scalar per row, and in every product
// one operand is broadcast and the other read in whole vectors. Only Q and dO have to be transposed
// for it. On one AVX-512 core with 208 GFLOP/s of FMA: 93 forward and 109 backward at L = 50, head
// width 32; 139 and 147 at L = 197, width 64 (4 and 10 L^2 d per head counted).
//
// bf16 is widened where an operand is packed and rounded where a result leaves: products and
// softmax are those of f32, on exact inputs. Instructions that multiply bf16 would need the
// probabilities rounded, and pay only where they are matrix instructions (AMX).
#include "tensor/ops/attention_simd.h"

#include "tensor/simd.h"
#include "tensor/simd_product.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

constexpr int64_t kQueries = 64;  // per block: kQueries * L scores and as many gradients stay in L2

/// V vectors of queries against all keys: their place in the block's scores, and what a key brings.
struct Keys {
  float* scores;           // (L, width): logits / scale
  float* grads = nullptr;  // (L, width): gradient of the probabilities
  int64_t width, length;
  int64_t first;  // number of the first query, in the image
  float scale;
  const float* bias = nullptr;  // (L) or null
  const float* mask = nullptr;  // (L) or null
  float* dbias = nullptr;       // (L) or null, added to
  float* dmask = nullptr;       // (L) or null, added to
};

Vec logits(const Keys& keys, int64_t j, int v) {
  const Vec s = load(keys.scores + j * keys.width + v * kLanes);
  return s * keys.scale + (keys.bias ? keys.bias[j] : 0.0f);
}
IVec is_own_query(const Keys& keys, int64_t j, int v) {
  return lane_numbers() + static_cast<int32_t>(keys.first + v * kLanes) ==
         static_cast<int32_t>(j) - IVec{};
}
/// Where every query sees key j with weight 1 the mask changes nothing, not even a rounding.
bool is_masked(const Keys& keys, int64_t j) { return keys.mask && keys.mask[j] != 1.0f; }
Vec weight(const Keys& keys, int64_t j, int v) {
  return choose(is_own_query(keys, j, v), splat(1.0f), splat(keys.mask[j]));
}

/// scores <- E M; the maxima and sums of the V * kLanes queries.
template <int V>
void softmax(const Keys& keys, float* row_max, float* row_sum) {
  Vec top[V], sum[V] = {};
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) top[v] = splat(-__builtin_inff());
  for (int64_t j = 0; j < keys.length; ++j) {
    const bool hidden = keys.mask && !(keys.mask[j] > 0);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vec a = logits(keys, j, v);
      if (hidden) a = choose(is_own_query(keys, j, v), a, splat(-__builtin_inff()));
      top[v] = vmax(top[v], a);
    }
  }
  for (int64_t j = 0; j < keys.length; ++j) {
    float* const scores = keys.scores + j * keys.width;
    const bool masked = is_masked(keys, j);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vec e;
      if (masked) {
        e = vexp(logits(keys, j, v) - top[v]) * weight(keys, j, v);
      } else {
        e = vexp_nonpositive(logits(keys, j, v) - top[v]);
      }
      sum[v] += e;
      store(scores + v * kLanes, e);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    store(row_max + v * kLanes, top[v]);
    store(row_sum + v * kLanes, sum[v]);
  }
}

/// E / S with a hidden key's exponent clipped at 0.
Vec probability_of_weight_1(const Keys& keys, int64_t j, int v, Vec top, Vec inverse) {
  return vexp_nonpositive(vmin(Vec{}, logits(keys, j, v) - top)) * inverse;
}

/// scores <- P, grads <- dS * scale.
template <int V>
void softmax_grad(const Keys& keys, const float* row_max, const float* inverse_sum) {
  Vec top[V], inverse[V], dot[V] = {};
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    top[v] = load(row_max + v * kLanes);
    inverse[v] = load(inverse_sum + v * kLanes);
  }
  for (int64_t j = 0; j < keys.length; ++j) {
    float* const scores = keys.scores + j * keys.width;
    const float* const grads = keys.grads + j * keys.width;
    const bool masked = is_masked(keys, j);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vec p = probability_of_weight_1(keys, j, v, top[v], inverse[v]);
      if (masked) {
        p *= weight(keys, j, v);  // the scores are needed once more
      } else {
        store(scores + v * kLanes, p);
      }
      dot[v] += p * load(grads + v * kLanes);
    }
  }
  for (int64_t j = 0; j < keys.length; ++j) {
    float* const scores = keys.scores + j * keys.width;
    float* const grads = keys.grads + j * keys.width;
    const bool masked = is_masked(keys, j);
    Vec dbias{}, dmask{};
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vec p = load(scores + v * kLanes);
      if (masked) p = probability_of_weight_1(keys, j, v, top[v], inverse[v]);
      const Vec change = load(grads + v * kLanes) - dot[v];
      Vec ds = p * change;
      if (keys.dmask) dmask += choose(is_own_query(keys, j, v), Vec{}, ds);
      if (masked) {
        p *= weight(keys, j, v);
        store(scores + v * kLanes, p);
        ds = p * change;
      }
      dbias += ds;
      store(grads + v * kLanes, ds * keys.scale);
    }
    if (keys.dbias) keys.dbias[j] += sum_lanes(dbias);
    if (keys.dmask) keys.dmask[j] += sum_lanes(dmask);
  }
}

/// f<V>(first vector) over the vectors of a block.
template <class F>
void for_query_vectors(int64_t width, const F& f) {
  constexpr int64_t kStep = kMaxVectors * kLanes;
  for (int64_t i = 0; i < width; i += kStep) {
    const int64_t left = (width - i) / kLanes;
    if (left >= kMaxVectors) {
      f.template operator()<kMaxVectors>(i);
    } else if (left == 3) {
      f.template operator()<3>(i);
    } else if (left == 2) {
      f.template operator()<2>(i);
    } else {
      f.template operator()<1>(i);
    }
  }
}

/// One task's matrices inside the packed tensors, and the scratch of a thread.
struct Head {
  template <class T>
  Head(const AttentionArrays<T>& a, int64_t task)
      : length(a.length),
        qk_dim(a.qk_dim),
        v_dim(a.v_dim),
        row(a.heads * (2 * a.qk_dim + a.v_dim)),
        out_row(a.heads * a.v_dim) {
    const int64_t image = task / a.heads, head = task % a.heads;
    q = image * length * row + head * qk_dim;
    k = q + a.heads * qk_dim;
    v = image * length * row + 2 * a.heads * qk_dim + head * v_dim;
    out = image * length * out_row + head * v_dim;
    mask = a.mask ? a.mask + image * length : nullptr;
    bias = a.key_bias ? a.key_bias + image * length : nullptr;
  }
  int64_t length, qk_dim, v_dim, row, out_row;
  int64_t q, k, v, out;  // offsets in qkv, dqkv and in out, dout
  const float *mask, *bias;
};

struct Scratch {
  template <class T>
  Scratch(const AttentionArrays<T>& a, float* p) : begin(p) {
    const auto take = [&p](int64_t n) {
      float* const part = p;
      p += (n + 15) / 16 * 16;
      return part;
    };
    scores = take(a.length * kQueries);
    grads = take(a.length * kQueries);
    q_transposed = take(padded(a.qk_dim) * kQueries);
    dout_transposed = take(padded(a.v_dim) * kQueries);
    k = take(a.length * padded(a.qk_dim));
    v = take(a.length * padded(a.v_dim));
    q = take(kQueries * padded(a.qk_dim));
    dout = take(kQueries * padded(a.v_dim));
    row_max = take(kQueries);
    row_sum = take(kQueries);
    const int64_t rounds = sizeof(T) < sizeof(float);  // results in f32, until they are complete
    out = take(rounds * kQueries * padded(a.v_dim));
    dq = take(rounds * kQueries * padded(a.qk_dim));
    dk = take(rounds * a.length * padded(a.qk_dim));
    dv = take(rounds * a.length * padded(a.v_dim));
    end = p;
  }
  float *begin, *scores, *grads, *q_transposed, *dout_transposed, *k, *v, *q, *dout, *row_max,
      *row_sum, *out, *dq, *dk, *dv, *end;
};

template <class T>
int64_t scratch(const AttentionArrays<T>& arrays) {
  const Scratch s(arrays, nullptr);
  return s.end - s.begin;
}

/// A matrix that products read or write as floats: f32 where it lies, bf16 in `room`, whose rows
/// have whole vectors.
template <class Float>  // float or const float
struct Rows {
  Float* data;
  int64_t stride;
};
Rows<const float> readable(const float* x, int64_t stride, int64_t, int64_t, float*) {
  return {x, stride};
}
Rows<const float> readable(const BFloat16* x, int64_t stride, int64_t rows, int64_t cols,
                           float* room) {
  pack(x, stride, rows, cols, room);
  return {room, padded(cols)};
}
Rows<float> writable(float* y, int64_t stride, int64_t, float*) { return {y, stride}; }
Rows<float> writable(BFloat16*, int64_t, int64_t cols, float* room) { return {room, padded(cols)}; }
void finish(const Rows<float>&, float*, int64_t, int64_t, int64_t) {}
void finish(const Rows<float>& from, BFloat16* y, int64_t stride, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) {
    for_vectors(cols, [&](auto at) {
      at.store_to(y + i * stride, at.load_from(from.data + i * from.stride));
    });
  }
}

/// f(first query, queries) over even blocks of at most kQueries, whole vectors but for the last.
template <class F>
void for_blocks(int64_t length, const F& f) {
  const int64_t vectors = (length + kLanes - 1) / kLanes, most = kQueries / kLanes,
                blocks = (vectors + most - 1) / most;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = vectors * b / blocks * kLanes, end = vectors * (b + 1) / blocks * kLanes;
    f(begin, (end < length ? end : length) - begin);
  }
}

template <class T>
void forward_task(const AttentionArrays<T>& arrays, int64_t task, const Scratch& s) {
  const Head h(arrays, task);
  pack(arrays.qkv + h.v, h.row, h.length, h.v_dim, s.v);
  const Rows<const float> k = readable(arrays.qkv + h.k, h.row, h.length, h.qk_dim, s.k);
  for_blocks(h.length, [&](int64_t first, int64_t queries) {
    const int64_t width = padded(queries);
    pack_transposed(arrays.qkv + h.q + first * h.row, h.row, queries, h.qk_dim, s.q_transposed);
    multiply<false>({.a = k.data,
                     .a_stride = k.stride,
                     .b = s.q_transposed,
                     .b_stride = width,
                     .c = s.scores,
                     .c_stride = width,
                     .rows = h.length,
                     .cols = width,
                     .depth = h.qk_dim});
    for_query_vectors(width, [&]<int V>(int64_t i) {
      const Keys keys{.scores = s.scores + i,
                      .width = width,
                      .length = h.length,
                      .first = first + i,
                      .scale = arrays.scale,
                      .bias = h.bias,
                      .mask = h.mask};
      softmax<V>(keys, s.row_max + i, s.row_sum + i);
    });
    float* const row_max = arrays.row_max + task * h.length + first;
    float* const row_sum = arrays.row_sum + task * h.length + first;
    for (int64_t i = 0; i < queries; ++i) {
      row_max[i] = s.row_max[i];
      row_sum[i] = s.row_sum[i];
    }
    for (int64_t i = 0; i < width; i += kLanes) store(s.row_sum + i, 1.0f / load(s.row_sum + i));
    T* const result = arrays.out + h.out + first * h.out_row;
    const Rows<float> out = writable(result, h.out_row, h.v_dim, s.out);
    multiply<true>({.a = s.scores,
                    .a_stride = width,
                    .b = s.v,
                    .b_stride = padded(h.v_dim),
                    .c = out.data,
                    .c_stride = out.stride,
                    .rows = queries,
                    .cols = h.v_dim,
                    .depth = h.length,
                    .row_scale = s.row_sum});
    finish(out, result, h.out_row, queries, h.v_dim);
  });
}

template <class T>
void backward_task(const AttentionArrays<T>& arrays, int64_t task, const Scratch& s) {
  const Head h(arrays, task);
  float* const dbias = arrays.dkey_bias ? arrays.dkey_bias + task * h.length : nullptr;
  float* const dmask = arrays.dmask ? arrays.dmask + task * h.length : nullptr;
  for (int64_t j = 0; j < h.length; ++j) {
    if (dbias) dbias[j] = 0;
    if (dmask) dmask[j] = 0;
  }
  const int64_t qk_width = padded(h.qk_dim), v_width = padded(h.v_dim);
  pack(arrays.qkv + h.k, h.row, h.length, h.qk_dim, s.k);
  const Rows<const float> k{s.k, qk_width},
      v = readable(arrays.qkv + h.v, h.row, h.length, h.v_dim, s.v);
  T *const dk_result = arrays.dqkv + h.k, *const dv_result = arrays.dqkv + h.v;
  const Rows<float> dk = writable(dk_result, h.row, h.qk_dim, s.dk),
                    dv = writable(dv_result, h.row, h.v_dim, s.dv);
  for_blocks(h.length, [&](int64_t first, int64_t queries) {
    const int64_t width = padded(queries);
    const T* const q = arrays.qkv + h.q + first * h.row;
    const T* const dout = arrays.dout + h.out + first * h.out_row;
    pack(q, h.row, queries, h.qk_dim, s.q);
    pack(dout, h.out_row, queries, h.v_dim, s.dout);
    pack_transposed(q, h.row, queries, h.qk_dim, s.q_transposed);
    pack_transposed(dout, h.out_row, queries, h.v_dim, s.dout_transposed);
    multiply<false>({.a = k.data,
                     .a_stride = k.stride,
                     .b = s.q_transposed,
                     .b_stride = width,
                     .c = s.scores,
                     .c_stride = width,
                     .rows = h.length,
                     .cols = width,
                     .depth = h.qk_dim});
    multiply<false>({.a = v.data,
                     .a_stride = v.stride,
                     .b = s.dout_transposed,
                     .b_stride = width,
                     .c = s.grads,
                     .c_stride = width,
                     .rows = h.length,
                     .cols = width,
                     .depth = h.v_dim});
    for (int64_t i = 0; i < width; i += kLanes) {  // queries of the padding get probability 0
      const int64_t n = queries - i < kLanes ? queries - i : kLanes,
                    at = task * h.length + first + i;
      store(s.row_max + i, load_first(arrays.row_max + at, n));
      store(s.row_sum + i, Vec{});
      store_first(s.row_sum + i, 1.0f / load_first(arrays.row_sum + at, n), n);
    }
    for_query_vectors(width, [&]<int V>(int64_t i) {
      const Keys keys{.scores = s.scores + i,
                      .grads = s.grads + i,
                      .width = width,
                      .length = h.length,
                      .first = first + i,
                      .scale = arrays.scale,
                      .bias = h.bias,
                      .mask = h.mask,
                      .dbias = dbias,
                      .dmask = dmask};
      softmax_grad<V>(keys, s.row_max + i, s.row_sum + i);
    });
    T* const dq_result = arrays.dqkv + h.q + first * h.row;
    const Rows<float> dq = writable(dq_result, h.row, h.qk_dim, s.dq);
    multiply<true>({.a = s.grads,
                    .a_stride = width,
                    .b = s.k,
                    .b_stride = qk_width,
                    .c = dq.data,
                    .c_stride = dq.stride,
                    .rows = queries,
                    .cols = h.qk_dim,
                    .depth = h.length});
    finish(dq, dq_result, h.row, queries, h.qk_dim);
    multiply<false>({.a = s.grads,
                     .a_stride = width,
                     .b = s.q,
                     .b_stride = qk_width,
                     .c = dk.data,
                     .c_stride = dk.stride,
                     .rows = h.length,
                     .cols = h.qk_dim,
                     .depth = queries,
                     .accumulate = first > 0});
    multiply<false>({.a = s.scores,
                     .a_stride = width,
                     .b = s.dout,
                     .b_stride = v_width,
                     .c = dv.data,
                     .c_stride = dv.stride,
                     .rows = h.length,
                     .cols = h.v_dim,
                     .depth = queries,
                     .accumulate = first > 0});
  });
  finish(dk, dk_result, h.row, h.length, h.qk_dim);
  finish(dv, dv_result, h.row, h.length, h.v_dim);
}

template <class T>
void forward(const AttentionArrays<T>& arrays, int64_t begin, int64_t end, float* memory) {
  const Scratch s(arrays, memory);
  for (int64_t task = begin; task < end; ++task) forward_task(arrays, task, s);
}
template <class T>
void backward(const AttentionArrays<T>& arrays, int64_t begin, int64_t end, float* memory) {
  const Scratch s(arrays, memory);
  for (int64_t task = begin; task < end; ++task) backward_task(arrays, task, s);
}

}  // namespace

const AttentionSimd attention_simd = {{scratch<float>, forward<float>, backward<float>},
                                      {scratch<BFloat16>, forward<BFloat16>, backward<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
