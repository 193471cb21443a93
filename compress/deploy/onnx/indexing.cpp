// Moves by index, and what chooses the index. ONNX breaks ties of TopK as we do: the lower position
// comes first. It says nothing of NaN, which ours puts last.
#include <numeric>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

constexpr int64_t kInt32 = 6, kInt64 = 7;  // ONNX's numbers of element types

std::string along(OnnxWriter& w, const char* op, std::vector<std::string> inputs) {
  return w(op, std::move(inputs), {{"axis", w.integer("axis")}});
}

std::string index_select(OnnxWriter& w) { return along(w, "Gather", {w.input(0), w.input(1)}); }
std::string gather(OnnxWriter& w) { return along(w, "GatherElements", {w.input(0), w.input(1)}); }

std::string scatter(OnnxWriter& w) {
  return along(w, "ScatterElements", {w.input(0), w.input(1), w.input(2)});
}

std::string scatter_add(OnnxWriter& w) {
  return w("ScatterElements", {w.input(0), w.input(1), w.input(2)},
           {{"axis", w.integer("axis")}, {"reduction", std::string("add")}});
}

/// Sorted along `axis` and cut to k. The second result are i64 positions.
std::string top(OnnxWriter& w, const std::string& x, int64_t axis, int64_t k, bool is_largest,
                int chosen) {
  return w("TopK", {x, w.integers({k})},
           {{"axis", axis}, {"largest", is_largest ? 1 : 0}, {"sorted", 1}},
           {.count = 2, .chosen = chosen});
}

std::string sorted(OnnxWriter& w, int chosen) {
  const int axis = w.fixed_axis("axis");
  return top(w, w.input(0), axis, w.result_shape()[static_cast<size_t>(axis)],
             w.integer("is_descending") != 0, chosen);
}
std::string values(OnnxWriter& w) { return sorted(w, 0); }
std::string positions(OnnxWriter& w) { return w("Cast", {sorted(w, 1)}, {{"to", kInt32}}); }

/// Positions of the k highest, ascending: they are sorted once more.
std::string select_top(OnnxWriter& w) {
  const int64_t k = w.integer("k");
  const std::string highest = top(w, w.input(0), 1, k, /*is_largest=*/true, 1);
  return w("Cast", {top(w, highest, 1, k, /*is_largest=*/false, 0)}, {{"to", kInt32}});
}

/// x (N, L, C), index (N, K) -> (N, K, C)
std::string gather_rows(OnnxWriter& w) {
  const std::string index = w("Cast", {w.input(1)}, {{"to", kInt64}});
  return w("GatherND", {w.input(0), w("Unsqueeze", {index, w.integers({2})})}, {{"batch_dims", 1}});
}

/// index (N, K) -> 0 .. T - 1, index + T
std::string with_special(OnnxWriter& w) {
  const int64_t count = w.integer("num_special");
  std::vector<double> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  const std::string special = w("Expand", {w.constant(from_values({1, count}, numbers, DType::i32)),
                                           w.extents({w.shape(0)[0], count})});
  const Tensor moved = full({}, static_cast<double>(count), DType::i32);
  return w("Concat", {special, w("Add", {w.input(0), w.constant(moved)})}, {{"axis", 1}});
}

const RegisteredOnnxOp registered[] = {{"index_select", index_select},
                                       {"gather", gather},
                                       {"scatter", scatter},
                                       {"scatter_add", scatter_add},
                                       {"sort", values},
                                       {"sort_indices", positions},
                                       {"top_k", values},
                                       {"top_k_indices", positions},
                                       {"select_top", select_top},
                                       {"gather_rows", gather_rows},
                                       {"with_special", with_special}};

}  // namespace
}  // namespace vtrain
