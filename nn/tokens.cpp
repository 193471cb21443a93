#include "nn/tokens.h"

#include <numeric>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/indexing.h"
#include "autograd/linear.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "autograd/tokens.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {
/// (N, L) along the same rows.
Variable gather_flat(const Variable& x, const Variable& index) {
  if (!x.defined()) return x;
  return reshape(gather_rows(reshape(x, {x.dim(0), x.dim(1), 1}), index), index.shape());
}

/// Where every row of `length` is behind a gather at index (N, K), -1: gone. (N, length) i32
Tensor rows_behind(const Variable& index, int64_t length) {
  const int64_t samples = index.dim(0), kept = index.dim(1);
  const std::vector<double> from = index.value().to_vector();
  std::vector<double> to(static_cast<size_t>(samples * length), -1);
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t k = 0; k < kept; ++k) {
      const auto row = static_cast<int64_t>(from[static_cast<size_t>(n * kept + k)]);
      if (row < 0 || row >= length)  // a device's gather need not tell
        throw ShapeError(str("[gather] index: expected rows below ", length, ", got ", row));
      to[static_cast<size_t>(n * length + row)] = static_cast<double>(k);
    }
  }
  return from_values({samples, length}, to, DType::i32);
}
}  // namespace

Tensor own_rows(const Tokens& t) {
  const int64_t samples = t.x.dim(0), patches = t.length() - t.num_special;
  std::vector<double> rows;
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t p = 0; p < patches; ++p) rows.push_back(static_cast<double>(t.num_special + p));
  }
  return from_values({samples, patches}, rows, DType::i32);
}

// On the host: it runs only where somebody wants to see where tokens come from.
Tensor follow(const Tensor& dest, const Tensor& to) {
  if (dest.ndim() != 2 || to.ndim() != 2 || dest.dim(0) != to.dim(0))
    throw ShapeError(str("[follow] to ", to.shape(), ": expected (N, L) beside dest (N, P), got ",
                         dest.shape()));
  const int64_t patches = dest.dim(1), length = to.dim(1);
  const std::vector<double> rows = to.to_vector();
  std::vector<double> moved = dest.to_vector();
  for (size_t i = 0; i < moved.size(); ++i) {
    if (moved[i] < 0) continue;
    const auto row = static_cast<int64_t>(moved[i]), sample = static_cast<int64_t>(i) / patches;
    if (row >= length)
      throw ShapeError(str("[follow] dest: expected rows below ", length, ", got ", row));
    moved[i] = rows[static_cast<size_t>(sample * length + row)];
  }
  return from_values(dest.shape(), moved, DType::i32);
}

Tokens gather(const Tokens& t, const Variable& index) {
  Tokens u = t;
  u.x = gather_rows(t.x, index);
  u.mask = gather_flat(t.mask, index);
  u.key_bias = gather_flat(t.key_bias, index);
  u.sizes = gather_flat(t.sizes, index);
  u.score = gather_flat(t.score, index);
  if (t.index.defined()) u.index = gather(t.index, 1, index);
  if (t.dest.defined() && !t.whole) u.dest = follow(t.dest, rows_behind(index, t.length()));
  u.attended = {};  // its rows are those before
  return u;
}

Tokens split(const Tokens& t, const Variable& index) {
  if (t.whole) throw Error("split: expected whole tokens, got a part, which is not put back yet");
  Tokens u = gather(t, index);
  u.dest = t.dest;
  u.whole = std::make_shared<const Tokens>(t);
  u.index = index;
  return u;
}

namespace {
/// Where each row of the whole is found in [whole, part]: (N, L) i32.
///   index (N, K)
/// Rows 0..L-1 of the whole are numbered, those that the part replaces go to the end, the part's
/// rows take their numbers; in order of numbers the first L are the whole.
Variable sources(const Variable& index, int64_t length) {
  const Shape rows{index.dim(0), length}, part{index.dim(0), index.dim(1)};
  std::vector<double> numbers(static_cast<size_t>(length));
  std::iota(numbers.begin(), numbers.end(), 0);
  const Device device = index.value().device();
  const Variable row(from_values({1, length}, numbers).to(device)),
      last(full({1, 1}, static_cast<double>(length), DType::f32, device));
  const Variable number = expand(row, rows);
  const Variable left = scatter(number, 1, index, expand(last, part)),
                 arrived = gather(number, 1, index);
  return top_k(concat({left, arrived}, 1), length, 1, SortOrder::kAscending).indices;
}
}  // namespace

Tokens put_back(const Tokens& t) {
  if (!t.whole) throw Error("put_back: expected a part of the tokens, got all of them");
  const Variable from = sources(t.index, t.whole->length());
  Tokens u = *t.whole;
  u.x = gather_rows(concat({t.whole->x, t.x}, 1), from);
  if (t.score.defined()) u.score = gather_flat(concat({t.whole->score, t.score}, 1), from);
  u.attended = {};
  return u;
}

Variable class_attention(const Tokens& t) {
  const Attended& a = t.attended;
  if (!a.qkv.defined())
    throw Error("class attention: expected tokens between a block's attention and its end");
  const Variable qkv = cast(a.qkv, wide_of(a.qkv.value().dtype()));
  const int64_t samples = qkv.dim(0), length = qkv.dim(1), width = a.num_heads * a.qk_dim;
  const Variable q = reshape(slice(select(qkv, 1, 0), 1, 0, width),
                             {samples, a.num_heads, 1, a.qk_dim}),
                 k = reshape(slice(qkv, 2, width, 2 * width),
                             {samples, length, a.num_heads, a.qk_dim});
  const Variable products = matmul(q, transpose(transpose(k, 1, 2), 2, 3)) * a.scale;
  Variable logits = reshape(products, {samples, a.num_heads, length});
  const auto per_key = [&](const Variable& x) { return reshape(x, {samples, 1, length}); };
  if (t.key_bias.defined()) logits = logits + per_key(t.key_bias);
  if (t.mask.defined()) logits = logits + per_key(Variable(log(t.mask.value())));
  return softmax(logits, 2);
}

Variable patch_tokens(const Tokens& t) {
  return t.num_special == 0 ? t.x : slice(t.x, 1, t.num_special, t.length());
}

}  // namespace vtrain
