// Multi-head attention: tensor/ops/attention.h has the formula.
#include <limits>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

enum class KeyOrder { kRows, kColumns };

/// Channels [begin, begin + heads * dim) of x (N, L, C) as (N, heads, L, dim), or (N, heads, dim,
/// L).
std::string heads_of(OnnxWriter& w, int64_t begin, int64_t heads, int64_t dim, KeyOrder order) {
  const Shape x = w.shape(0);
  const std::string part = w.sliced(w.input(0), 2, begin, begin + heads * dim);
  const std::string split = w.reshaped(part, {x[0], x[1], heads, dim});
  return w.transposed(split, order == KeyOrder::kRows ? std::vector<int64_t>{0, 2, 1, 3}
                                                      : std::vector<int64_t>{0, 2, 3, 1});
}

/// (N, L), one number per key -> (N, 1, 1, L)
std::string per_key(OnnxWriter& w, size_t input) {
  return w("Unsqueeze", {w.input(input), w.integers({1, 2})});
}

/// The softmax of scores (N, heads, L, L) over the keys that mask (N, L) shows, and the query
/// itself.
std::string masked_softmax(OnnxWriter& w, const std::string& scores) {
  const int64_t length = w.shape(0)[1];
  const DType dtype = w.result_dtype();
  Tensor itself = zeros({length, length}, dtype), others = ones({length, length}, dtype);
  for (int64_t i = 0; i < length; ++i) {
    itself.select(0, i).slice(0, i, i + 1).fill(1);
    others.select(0, i).slice(0, i, i + 1).fill(0);
  }
  const std::string mask =
      w("Add", {w("Mul", {per_key(w, 1), w.constant(others)}), w.constant(itself)});
  // Hidden scores go before the exponential: it might overflow, and infinity times 0 is NaN.
  const std::string kept = w("Where", {w("Greater", {mask, w.scalar(0)}), scores,
                                       w.scalar(-std::numeric_limits<double>::infinity())});
  const bool is_max_of_all = w.integer("mask_max_is_all") != 0;
  const std::vector<int64_t> last{-1};
  const std::string max =
      w("ReduceMax", {is_max_of_all ? scores : kept}, {{"axes", last}, {"keepdims", 1}});
  std::string shown = w("Mul", {w("Exp", {w("Sub", {kept, max})}), mask});
  std::string total = w("ReduceSum", {shown, w.integers(last)}, {{"keepdims", 1}});
  if (const double eps = w.real("mask_eps"); eps > 0) {
    shown = w("Add", {shown, w.scalar(eps / static_cast<double>(length))});
    total = w("Add", {total, w.scalar(eps)});
  }
  return w("Div", {shown, total});
}

std::string attention(OnnxWriter& w) {
  const int64_t heads = w.integer("num_heads"), qk = w.integer("qk_dim"), v = w.integer("v_dim");
  const std::string queries = heads_of(w, 0, heads, qk, KeyOrder::kRows),
                    keys = heads_of(w, heads * qk, heads, qk, KeyOrder::kColumns),
                    values = heads_of(w, 2 * heads * qk, heads, v, KeyOrder::kRows);
  std::string scores = w("Mul", {w("MatMul", {queries, keys}), w.scalar(w.real("scale"))});
  if (w.has(2)) scores = w("Add", {scores, per_key(w, 2)});
  const std::string probabilities =
      w.has(1) ? masked_softmax(w, scores) : w("Softmax", {scores}, {{"axis", -1}});
  const std::string joined = w.transposed(w("MatMul", {probabilities, values}), {0, 2, 1, 3});
  return w.reshaped(joined, w.result_shape());
}

const RegisteredOnnxOp registered{"attention", attention};

}  // namespace
}  // namespace vtrain
