// What every op does to the channels that pass it (compress/parts/channels.h).
#include <algorithm>

#include "compress/parts/channels.h"

namespace vtrain {
namespace {
using Node = Graph::Node;
using Labels = ChannelLabels;

const Shape& shape_of(const Channels& c, int value) { return c.graph().value(value).shape; }
int ndim_of(const Channels& c, int value) { return static_cast<int>(shape_of(c, value).size()); }

Labels part_of(const Labels& labels, int64_t begin, int64_t end) {
  if (labels.empty()) return {};
  return {labels.begin() + begin, labels.begin() + end};
}

/// Every axis of the first input on the same axis of the output.
void pass_on(Channels& c, const Node& node) {
  for (int axis = 0; axis < ndim_of(c, node.output); ++axis)
    c.set(node.output, axis, c.of(node.inputs[0], axis));
}

void pin_inputs(Channels& c, const Node& node) {
  for (const int input : node.inputs) {
    if (input >= 0) c.pin_value(input);
  }
}

/// Parameters with one number per channel.
void tie_vectors(Channels& c, const Node& node, const Labels& channels) {
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    const int vector = node.inputs[i];
    if (vector >= 0 && ndim_of(c, vector) == 1) c.unify(channels, c.of(vector, 0));
  }
}

/// The positions of every group with those of the first; whole: all of one group.
void tie_groups(Channels& c, const Labels& labels, int64_t groups, bool is_whole) {
  const auto size = static_cast<int64_t>(labels.size()) / groups;
  const auto at = [&](int64_t group, int64_t i) {
    return Labels{labels[static_cast<size_t>(group * size + i)]};
  };
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t i = 0; i < size; ++i) c.unify(is_whole ? at(group, 0) : at(0, i), at(group, i));
  }
}

/// The k-th channels of all heads, as the order of the attention's module numbers them.
void tie_ordered(Channels& c, const Labels& labels, const std::vector<int64_t>& order,
                 const Node& node, int64_t heads) {
  if (order.size() != labels.size())
    throw Error(str("cut: ", Graph::module_of(node), ": expected an order of ", labels.size(),
                    " channels, got ", order.size()));
  const auto size = static_cast<int64_t>(labels.size()) / heads;
  const auto at = [&](int64_t head, int64_t k) {
    const int64_t position = order[static_cast<size_t>(head * size + k)];
    return Labels{labels[static_cast<size_t>(head * size + position)]};
  };
  for (int64_t head = 1; head < heads; ++head) {
    for (int64_t k = 0; k < size; ++k) c.unify(at(0, k), at(head, k));
  }
}

void convolution(Channels& c, const Node& node) {
  const int x = node.inputs[0], w = node.inputs[1], b = node.inputs[2];
  const Labels in = c.of(x, 1), rows = c.of(w, 0), columns = c.of(w, 1);
  if (rows.empty()) {  // a weight that something else made
    pin_inputs(c, node);
    return;
  }
  const int64_t groups = integer(node, "groups");
  const auto channels = static_cast<int64_t>(shape_of(c, x)[1]);
  if (groups == 1) {
    c.unify(columns, in);
    c.cost(node.op.macs, {rows, columns});
  } else if (in.empty()) {
    c.pin(rows);
    c.pin(columns);
  } else if (groups == channels) {  // depthwise, with a multiplier
    const auto multiplier = static_cast<int64_t>(rows.size()) / channels;
    Labels repeated;
    for (const int label : in)
      repeated.insert(repeated.end(), static_cast<size_t>(multiplier), label);
    c.unify(rows, repeated);
    c.pin(columns);
    c.adapt(node, "groups", in, in);
    c.cost(node.op.macs, {rows});
  } else {
    const bool is_whole = c.grouped() == GroupedCut::kWhole;
    tie_groups(c, in, groups, is_whole);
    tie_groups(c, rows, groups, is_whole);
    const int64_t per_group = channels / groups;
    if (is_whole) {
      Labels firsts;
      for (int64_t k = 0; k < groups; ++k) {
        firsts.push_back(in[static_cast<size_t>(k * per_group)]);
        c.unify({firsts.back()},
                {rows[static_cast<size_t>(k * static_cast<int64_t>(rows.size()) / groups)]});
      }
      c.pin(columns);
      c.adapt(node, "groups", firsts, in);
      c.cost(node.op.macs, {rows});
    } else {
      c.unify(columns, part_of(in, 0, per_group));
      c.cost(node.op.macs, {rows, columns});
    }
  }
  if (b >= 0) c.unify(rows, c.of(b, 0));
  c.set(node.output, 1, rows);
}

void linear(Channels& c, const Node& node) {
  const int x = node.inputs[0], w = node.inputs[1], b = node.inputs[2];
  const Labels rows = c.of(w, 0), columns = c.of(w, 1);
  if (rows.empty()) {
    pin_inputs(c, node);
    return;
  }
  c.unify(columns, c.of(x, -1));
  if (columns.empty()) {  // the patch projection: its columns are pixels
    c.cost(node.op.macs, {rows});
  } else {
    c.cost(node.op.macs, {rows, columns});
  }
  if (b >= 0) c.unify(rows, c.of(b, 0));
  for (int axis = 0; axis + 1 < ndim_of(c, x); ++axis) c.set(node.output, axis, c.of(x, axis));
  c.set(node.output, -1, rows);
}

void batch_norm(Channels& c, const Node& node) {
  tie_vectors(c, node, c.of(node.inputs[0], 1));
  pass_on(c, node);
  if (const int residual = node.inputs[3]; residual >= 0) {
    c.unify(c.of(node.output, 1), c.of(residual, 1));
    c.mark_residual(c.of(node.output, 1));
  }
}

void layer_norm(Channels& c, const Node& node) {
  const Labels channels = c.of(node.inputs[0], -1);
  tie_vectors(c, node, channels);
  c.mark_normalised(channels);
  pass_on(c, node);
}

/// Numpy's rules: axes meet from the last on; an axis of one element takes the other's labels.
void elementwise(Channels& c, const Node& node) {
  const int rank = ndim_of(c, node.output);
  for (int back = 1; back <= rank; ++back) {
    Labels labels;
    bool is_first = true;
    for (const int input : node.inputs) {
      if (input < 0 || ndim_of(c, input) < back) continue;
      const Shape& shape = shape_of(c, input);
      const Labels& own = c.of(input, -back);
      if (shape[shape.size() - static_cast<size_t>(back)] !=
          shape_of(c, node.output)[static_cast<size_t>(rank - back)]) {
        c.pin(own);  // one element for all
        continue;
      }
      if (is_first) {
        labels = own;
        is_first = false;
      } else if (labels != own) {
        c.unify(labels, own);
        if (labels.size() != own.size()) labels.clear();
      }
    }
    c.set(node.output, -back, std::move(labels));
  }
}

void sum_of_branches(Channels& c, const Node& node) {
  elementwise(c, node);
  const auto depends_on_images = [&](int v) { return v >= 0 && c.graph().grows_with_batch(v); };
  if (!std::all_of(node.inputs.begin(), node.inputs.end(), depends_on_images)) return;
  for (int axis = 0; axis < ndim_of(c, node.output); ++axis)
    c.mark_residual(c.of(node.output, axis));
}

void concat(Channels& c, const Node& node) {
  const auto joined = integer(node, "dim");
  for (int axis = 0; axis < ndim_of(c, node.output); ++axis) {
    Labels labels = c.of(node.inputs[0], axis);
    bool is_followed = !labels.empty();
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      const Labels& own = c.of(node.inputs[i], axis);
      is_followed = is_followed && !own.empty();
      if (axis == joined)
        labels.insert(labels.end(), own.begin(), own.end());
      else
        c.unify(labels, own);
    }
    if (!is_followed) {
      c.pin(labels);
      labels.clear();
    }
    c.set(node.output, axis, std::move(labels));
  }
}

void slice(Channels& c, const Node& node) {
  const auto axis = static_cast<int>(integer(node, "axis"));
  const int64_t begin = integer(node, "begin"), end = integer(node, "end");
  pass_on(c, node);
  const Labels whole = c.of(node.inputs[0], axis);
  if (whole.empty()) return;
  c.set(node.output, axis, part_of(whole, begin, end));
  if (begin == 0 && end == static_cast<int64_t>(whole.size())) return;
  c.adapt(node, "begin", part_of(whole, 0, begin), whole);
  c.adapt(node, "end", part_of(whole, 0, end), whole);
}

void transpose(Channels& c, const Node& node) {
  pass_on(c, node);
  const auto a = static_cast<int>(integer(node, "a")), b = static_cast<int>(integer(node, "b"));
  c.set(node.output, a, c.of(node.inputs[0], b));
  c.set(node.output, b, c.of(node.inputs[0], a));
}

/// Axes in runs of equal products: (N, C, H, W) -> (N, C H W) has the runs N and C, H, W. An axis
/// goes on as it is, or is repeated where it was joined with axes that are not followed.
void reshape(Channels& c, const Node& node) {
  const Shape &from = shape_of(c, node.inputs[0]), &to = shape_of(c, node.output);
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    const size_t first = i, out = j;
    int64_t in_product = i < from.size() ? from[i++] : 1, out_product = j < to.size() ? to[j++] : 1;
    while (in_product != out_product) {
      if (in_product < out_product && i < from.size())
        in_product *= from[i++];
      else if (j < to.size())
        out_product *= to[j++];
      else
        break;
    }
    // Extents of one carry nothing: what remains decides what the run does.
    std::vector<size_t> ins, outs;
    for (size_t k = first; k < i; ++k) {
      if (from[k] != 1) ins.push_back(k);
    }
    for (size_t k = out; k < j; ++k) {
      if (to[k] != 1) outs.push_back(k);
    }
    if (ins.size() == 1 && outs.size() == 1) {
      c.set(node.output, static_cast<int>(outs[0]), c.of(node.inputs[0], static_cast<int>(ins[0])));
      continue;
    }
    std::vector<size_t> followed;
    for (const size_t k : ins) {
      if (!c.of(node.inputs[0], static_cast<int>(k)).empty()) followed.push_back(k);
    }
    if (followed.empty()) continue;
    if (followed.size() > 1 || outs.size() != 1) {
      for (const size_t k : followed) c.pin(c.of(node.inputs[0], static_cast<int>(k)));
      continue;
    }
    int64_t inner = 1;
    for (size_t k = followed[0] + 1; k < i; ++k) inner *= from[k];
    const Labels& labels = c.of(node.inputs[0], static_cast<int>(followed[0]));
    Labels repeated;
    for (int64_t element = 0; element < in_product; ++element)
      repeated.push_back(labels[static_cast<size_t>(element / inner) % labels.size()]);
    c.set(node.output, static_cast<int>(outs[0]), std::move(repeated));
  }
}

/// From an axis of one element nothing is followed.
void expand(Channels& c, const Node& node) {
  const int lead = ndim_of(c, node.output) - ndim_of(c, node.inputs[0]);
  for (int axis = 0; axis < ndim_of(c, node.inputs[0]); ++axis) {
    const bool is_same =
        shape_of(c, node.inputs[0])[static_cast<size_t>(axis)] ==
        shape_of(c, node.output)[static_cast<size_t>(axis) + static_cast<size_t>(lead)];
    if (is_same)
      c.set(node.output, axis + lead, c.of(node.inputs[0], axis));
    else
      c.pin(c.of(node.inputs[0], axis));
  }
}

/// A sum over channels depends on their number: it pins them.
void sum(Channels& c, const Node& node) {
  const int rank = ndim_of(c, node.inputs[0]);
  std::vector<char> is_summed(static_cast<size_t>(rank), 0);
  bool has_dims = false, keeps = false;
  for (const auto& [name, value] : node.op.attributes) {
    if (name == "keep_dims") keeps = value != 0;
    if (!name.starts_with("axis_")) continue;
    is_summed[static_cast<size_t>(value)] = 1;
    has_dims = true;
  }
  int out = 0;
  for (int axis = 0; axis < rank; ++axis) {
    const Labels& labels = c.of(node.inputs[0], axis);
    if (!has_dims || is_summed[static_cast<size_t>(axis)] != 0) {
      c.pin(labels);
      out += keeps ? 1 : 0;
    } else {
      c.set(node.output, out++, labels);
    }
  }
}

/// Images in, images out: the channels are axis 1.
void per_channel_of_images(Channels& c, const Node& node) {
  c.set(node.output, 1, c.of(node.inputs[0], 1));
}

void pad_channels(Channels& c, const Node& node) {
  const Labels in = c.of(node.inputs[0], 1);
  if (in.empty()) return;
  const Labels front = c.fresh(static_cast<size_t>(integer(node, "front"))),
               back = c.fresh(static_cast<size_t>(integer(node, "back")));
  c.adapt(node, "front", front, front);
  c.adapt(node, "back", back, back);
  Labels all = front;
  all.insert(all.end(), in.begin(), in.end());
  all.insert(all.end(), back.begin(), back.end());
  c.set(node.output, 1, std::move(all));
}

void channel_shuffle(Channels& c, const Node& node) {
  const Labels in = c.of(node.inputs[0], 1);
  if (in.empty()) return;
  const int64_t groups = integer(node, "groups");
  const auto size = static_cast<int64_t>(in.size()) / groups;
  // What is left must still split into `groups` equal parts.
  tie_groups(c, in, groups, false);
  Labels out(in.size());
  for (int64_t k = 0; k < groups; ++k) {
    for (int64_t i = 0; i < size; ++i)
      out[static_cast<size_t>(i * groups + k)] = in[static_cast<size_t>(k * size + i)];
  }
  c.set(node.output, 1, std::move(out));
}

void attention(Channels& c, const Node& node) {
  const Labels in = c.of(node.inputs[0], -1);
  const int64_t heads = integer(node, "num_heads"), qk = integer(node, "qk_dim"),
                dv = integer(node, "v_dim");
  const Shape& shape = shape_of(c, node.inputs[0]);
  const int64_t pairs = shape[shape.size() - 2] * shape[shape.size() - 2];
  if (in.empty()) return;
  const Labels q = part_of(in, 0, heads * qk), k = part_of(in, heads * qk, 2 * heads * qk),
               v = part_of(in, 2 * heads * qk, static_cast<int64_t>(in.size()));
  c.unify(q, k);
  const bool is_whole = c.grouped() == GroupedCut::kWhole;
  tie_groups(c, q, heads, is_whole);
  const auto order = c.head_orders().find(Graph::module_of(node));
  if (order == c.head_orders().end() || is_whole) {
    tie_groups(c, v, heads, is_whole);
  } else {
    tie_ordered(c, v, order->second, node, heads);
  }
  if (is_whole) {
    Labels firsts;
    for (int64_t head = 0; head < heads; ++head) {
      firsts.push_back(q[static_cast<size_t>(head * qk)]);
      c.unify({firsts.back()}, {v[static_cast<size_t>(head * dv)]});
    }
    c.adapt(node, "num_heads", firsts, in);
  } else {
    c.adapt(node, "qk_dim", part_of(q, 0, qk), q);
    c.adapt(node, "v_dim", part_of(v, 0, dv), v);
  }
  c.cost(pairs * heads * qk, {q});
  c.cost(pairs * heads * dv, {v});
  for (int axis = 0; axis + 1 < ndim_of(c, node.output); ++axis)
    c.set(node.output, axis, c.of(node.inputs[0], axis));
  c.set(node.output, -1, v);
}

/// The maximum of a row of channels, or its normalisation, mixes them.
void softmax(Channels& c, const Node& node) {
  pass_on(c, node);
  c.pin(c.of(node.inputs[0], static_cast<int>(attribute(node, "dim"))));
}

/// Whole rows move; the axis they are picked from is not followed.
void gather_rows(Channels& c, const Node& node) {
  pass_on(c, node);
  c.pin(c.of(node.inputs[0], 1));
  c.set(node.output, 1, {});
}

/// Compares tokens by the mean over heads of some columns: a column that is 0 in all of them tells
/// nothing, so it may go.
void match_tokens(Channels& c, const Node& node) {
  const Labels in = c.of(node.inputs[0], -1);
  const int64_t begin = integer(node, "begin"), width = integer(node, "width"),
                heads = integer(node, "heads");
  // Of whole heads that go, the others keep their width.
  if (in.empty() || (c.grouped() == GroupedCut::kWhole && heads > 1)) return;
  tie_groups(c, part_of(in, begin, begin + heads * width), heads, /*is_whole=*/false);
  c.cost(node.op.macs, {part_of(in, begin, begin + width)});
}

/// Whole rows meet; the axis they lie along is not followed.
void merge_rows(Channels& c, const Node& node) {
  c.pin(c.of(node.inputs[0], 1));
  c.set(node.output, 0, c.of(node.inputs[0], 0));
  c.set(node.output, -1, c.of(node.inputs[0], -1));
}

/// Entries of the index are channels of the result and of nothing else; which of its input they
/// are is not followed.
void select_channels(Channels& c, const Node& node) {
  c.pin(c.of(node.inputs[0], -1));
  for (int axis = 0; axis + 1 < ndim_of(c, node.output); ++axis)
    c.set(node.output, axis, c.of(node.inputs[0], axis));
  c.set(node.output, -1, c.of(node.inputs[1], 0));
}

/// Integers have no channels.
void index_of(Channels& c, const Node& node) { pin_inputs(c, node); }

const RegisteredChannelRule registered[] = {
    {{"conv2d"}, convolution},
    {{"linear"}, linear},
    {{"batch_norm"}, batch_norm},
    {{"layer_norm", "rms_norm"}, layer_norm},
    {{"relu",         "relu6",           "leaky_relu", "gelu", "gelu_tanh", "silu", "hard_swish",
      "hard_sigmoid", "sigmoid",         "tanh",       "exp",  "log",       "sqrt", "square",
      "add_scalar",   "multiply_scalar", "dropout",    "cast", "flip",      "roll"},
     pass_on},
    {{"add", "subtract"}, sum_of_branches},
    {{"multiply", "divide"}, elementwise},
    {{"concat"}, concat},
    {{"slice"}, slice},
    {{"transpose"}, transpose},
    {{"reshape"}, reshape},
    {{"expand"}, expand},
    {{"sum"}, sum},
    {{"max_pool2d", "average_pool2d", "adaptive_max_pool2d", "adaptive_average_pool2d", "subsample",
      "resize2d"},
     per_channel_of_images},
    {{"pad_channels"}, pad_channels},
    {{"channel_shuffle"}, channel_shuffle},
    {{"attention"}, attention},
    {{"softmax", "log_softmax"}, softmax},
    {{"gather_rows"}, gather_rows},
    {{"select_top", "with_special"}, index_of},
    {{"select_channels"}, select_channels},
    {{"match_tokens"}, match_tokens},
    {{"merge_rows"}, merge_rows},
    {{"merge_sizes"}, index_of},
};

}  // namespace
}  // namespace vtrain
