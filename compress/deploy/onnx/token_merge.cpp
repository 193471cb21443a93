// Tokens that merge in pairs: tensor/ops/token_merge.h. ArgMax takes the first of equal columns and
// TopK the lower of equal positions, as ours do; of what is not a number ONNX says nothing.
#include <limits>
#include <numeric>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

constexpr int64_t kOnnxInt32 = 6;  // the number of its element type

/// Every second row of x (N, L, C), from `first` on.
std::string every_second(OnnxWriter& w, const std::string& x, int64_t first) {
  return w.sliced(x, 1, first, std::numeric_limits<int64_t>::max(), 2);
}

/// (N, L, W) -> (N, L, width): unit vectors along the mean over heads, zeros where it is 0.
std::string directions(OnnxWriter& w) {
  const int64_t begin = w.integer("begin"), heads = w.integer("heads"), width = w.integer("width");
  const Shape x = w.shape(0);
  const std::string part = w.sliced(w.input(0), 2, begin, begin + heads * width);
  const std::string sum =
      w("ReduceSum", {w.reshaped(part, {x[0], x[1], heads, width}), w.integers({2})},
        {{"keepdims", 0}});
  const std::string norm =
      w("ReduceL2", {sum}, {{"axes", std::vector<int64_t>{2}}, {"keepdims", 1}});
  const std::string is_zero = w("Equal", {norm, w.constant(zeros({}, DType::f32))});
  return w("Div", {sum, w("Where", {is_zero, w.constant(ones({}, DType::f32)), norm})});
}

Tensor counting(int64_t first, int64_t count) {
  std::vector<double> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), static_cast<double>(first));
  return from_values({1, count}, numbers, DType::i32);
}

/// x (N, L, W) -> (N, L)
std::string match_tokens(OnnxWriter& w) {
  const int64_t length = w.shape(0)[1], special = w.integer("num_special"), r = w.integer("r");
  const int64_t special_a = (special + 1) / 2, special_b = special / 2, all_a = (length + 1) / 2,
                all_b = length / 2, left_of_a = all_a - r, batch = w.shape(0)[0];
  const std::string direction = directions(w);
  // Special tokens neither move nor receive.
  const std::string a = w.sliced(every_second(w, direction, 0), 1, special_a, all_a),
                    b = w.sliced(every_second(w, direction, 1), 1, special_b, all_b);
  const std::string cosines = w("MatMul", {a, w.transposed(b, {0, 2, 1})});
  const std::string best = w("ReduceMax", {cosines},
                             {{"axes", std::vector<int64_t>{2}}, {"keepdims", 0}}),
                    found = w("Cast", {w("ArgMax", {cosines}, {{"axis", 2}, {"keepdims", 0}})},
                              {{"to", kOnnxInt32}});
  const std::string merged =
      w("TopK", {best, w.integers({r})}, {{"axis", 1}, {"largest", 1}, {"sorted", 1}},
        {.count = 2, .chosen = 1});
  const std::string zero = w("Expand", {w.constant(zeros({1, 1}, DType::i32)),
                                        w.extents({batch, all_a - special_a})}),
                    one =
                        w("Expand", {w.constant(ones({1, 1}, DType::i32)), w.extents({batch, r})});
  const std::string is_merged = w("ScatterElements", {zero, merged, one}, {{"axis", 1}});
  // A token that stays moves up past those in front that go.
  const std::string gone = w("CumSum", {is_merged, w.constant(full({}, 1, DType::i32))});
  const std::string stays = w("Sub", {w.constant(counting(special, all_a - special_a)), gone});
  const auto number = [&](int64_t n) {
    return w.constant(full({}, static_cast<double>(n), DType::i32));
  };
  const std::string of_a = w("Where", {w("Equal", {is_merged, number(1)}),
                                       w("Add", {found, number(left_of_a + special_b)}), stays});
  const auto for_all = [&](const Tensor& numbers) {
    return w("Expand", {w.constant(numbers), w.extents({batch, numbers.dim(1)})});
  };
  std::vector<std::string> parts;
  if (special > 0) parts.push_back(for_all(counting(0, special)));
  parts.push_back(of_a);
  parts.push_back(for_all(counting(left_of_a + special_b, all_b - special_b)));
  // Parts lie behind each other; tokens of A and B take turns.
  std::vector<double> order(static_cast<size_t>(length));
  for (int64_t t = 0; t < length; ++t) {
    const int64_t behind =
        t % 2 == 0 ? special + t / 2 - special_a : special + all_a - special_a + t / 2 - special_b;
    order[static_cast<size_t>(t)] = static_cast<double>(t < special ? t : behind);
  }
  return w(
      "Gather",
      {w("Concat", parts, {{"axis", 1}}), w.constant(from_values({length}, order, DType::i32))},
      {{"axis", 1}});
}

/// The sizes that meet in each row: (N, rows).
std::string sizes_of_rows(OnnxWriter& w, const std::string& sizes, const std::string& to,
                          int64_t batch, int64_t rows) {
  const std::string none =
      w("Expand", {w.constant(zeros({1, 1}, DType::f32)), w.extents({batch, rows})});
  return w("ScatterElements", {none, to, sizes}, {{"axis", 1}, {"reduction", std::string("add")}});
}

std::string ones_for(OnnxWriter& w, const Shape& shape) {
  return w("Expand", {w.constant(ones({1, 1}, DType::f32)), w.extents(shape)});
}

std::string merge_sizes(OnnxWriter& w) {
  const Shape to = w.shape(1);
  return sizes_of_rows(w, w.has(0) ? w.input(0) : ones_for(w, to), w.input(1), to[0],
                       w.integer("rows"));
}

/// Tokens weighted by their share in the row they come to, and added there.
std::string merge_rows(OnnxWriter& w) {
  const Shape x = w.shape(0);
  const int64_t rows = w.integer("rows");
  const std::string sizes = w.has(1) ? w.input(1) : ones_for(w, {x[0], x[1]});
  const std::string all = sizes_of_rows(w, sizes, w.input(2), x[0], rows);
  const std::string share =
      w("Div", {sizes, w("GatherElements", {all, w.input(2)}, {{"axis", 1}})});
  if (w.result_dtype() != DType::f32)
    w.refuse(str("merged tokens are f32 there, not ", name_of(w.result_dtype())));
  const std::string weighted = w("Mul", {w.input(0), w("Unsqueeze", {share, w.integers({2})})});
  const std::string none =
      w("Expand", {w.constant(zeros({1, 1, 1}, DType::f32)), w.extents({x[0], rows, x[2]})});
  const std::string to = w("Expand", {w("Unsqueeze", {w.input(2), w.integers({2})}), w.extents(x)});
  return w("ScatterElements", {none, to, weighted},
           {{"axis", 1}, {"reduction", std::string("add")}});
}

const RegisteredOnnxOp registered[] = {
    {"match_tokens", match_tokens}, {"merge_rows", merge_rows}, {"merge_sizes", merge_sizes}};

}  // namespace
}  // namespace vtrain
