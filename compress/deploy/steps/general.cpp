// Ops computed as in training: every op that autograd/ records in evaluation and that has no step
// of its own, or where its own step does not fit.
#include "autograd/activation.h"
#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/batch_norm.h"
#include "autograd/conv2d.h"
#include "autograd/indexing.h"
#include "autograd/linear.h"
#include "autograd/local_response_norm.h"
#include "autograd/normalize.h"
#include "autograd/pool.h"
#include "autograd/rearrange.h"
#include "autograd/resize2d.h"
#include "autograd/rms_norm.h"
#include "autograd/shape.h"
#include "autograd/tokens.h"
#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

using Inputs = std::vector<Variable>;
using Node = Graph::Node;

int number(const Node& node, std::string_view name) {
  return static_cast<int>(integer(node, name));
}

// --- elementwise ---------------------------------------------------------------------------------

OpFunction unary(Variable (*f)(const Variable&)) {
  return [f](const Inputs& in, const Node&, const Shape&) { return f(in[0]); };
}
OpFunction binary(Variable (*f)(const Variable&, const Variable&)) {
  return [f](const Inputs& in, const Node&, const Shape&) { return f(in[0], in[1]); };
}
OpFunction with_scalar(Variable (*f)(const Variable&, double)) {
  return [f](const Inputs& in, const Node& node, const Shape&) {
    return f(in[0], attribute(node, "value"));
  };
}
OpFunction with_kind(ActivationKind kind) {
  return [kind](const Inputs& in, const Node&, const Shape&) { return activation(kind, in[0]); };
}

const RegisteredOp elementwise[] = {
    {"add", binary(operator+)},
    {"subtract", binary(operator-)},
    {"multiply", binary(operator*)},
    {"divide", binary(operator/)},
    {"add_scalar", with_scalar(operator+)},
    {"multiply_scalar", with_scalar(operator*)},
    {"exp", unary(exp)},
    {"log", unary(log)},
    {"sqrt", unary(sqrt)},
    {"square", unary(square)},
    {"sigmoid", unary(sigmoid)},
    {"relu", unary(relu)},
    {"relu6", unary(relu6)},
    {"gelu", unary(gelu)},
    {"tanh", with_kind(ActivationKind::kTanh)},
    {"silu", with_kind(ActivationKind::kSilu)},
    {"gelu_tanh", with_kind(ActivationKind::kGeluTanh)},
    {"hard_sigmoid", with_kind(ActivationKind::kHardSigmoid)},
    {"hard_swish", with_kind(ActivationKind::kHardSwish)},
    {"leaky_relu", [](const Inputs& in, const Node& node,
                      const Shape&) { return leaky_relu(in[0], attribute(node, "slope")); }},
    {"cast", [](const Inputs& in, const Node&, const Shape&) { return in[0]; }},  // by the copy
};

// --- products and normalisation ------------------------------------------------------------------

Variable convolved(const Inputs& in, const Node& node, const Shape&) {
  const auto n = [&](const char* name) { return integer(node, name); };
  return conv2d(in[0], in[1], in[2],
                {.stride = {n("stride_h"), n("stride_w")},
                 .padding = {n("pad_top"), n("pad_bottom"), n("pad_left"), n("pad_right")},
                 .dilation = {n("dilation_h"), n("dilation_w")},
                 .groups = n("groups")});
}

Variable attended(const Inputs& in, const Node& node, const Shape&) {
  return attention(
      in[0], in[1], in[2],
      {.num_heads = integer(node, "num_heads"),
       .qk_dim = integer(node, "qk_dim"),
       .v_dim = integer(node, "v_dim"),
       .scale = attribute(node, "scale"),
       .mask_eps = attribute(node, "mask_eps"),
       .mask_max = integer(node, "mask_max_is_all") != 0 ? MaskMax::kAll : MaskMax::kKept});
}

Variable batch_normalised(const Inputs& in, const Node& node, const Shape&) {
  return batch_norm(in[0], in[1], in[2], in[3], in[4], in[5],
                    {.eps = attribute(node, "eps"),
                     .momentum = attribute(node, "momentum"),
                     .statistics = BatchNormStatistics::kRunning,
                     .activation = static_cast<BatchNormActivation>(integer(node, "activation"))});
}

Variable summed(const Inputs& in, const Node& node, const Shape&) {
  std::vector<int> dims;
  for (const auto& [name, axis] : node.op.attributes) {
    if (name.starts_with("axis_")) dims.push_back(static_cast<int>(axis));
  }
  return sum(in[0], dims, attribute(node, "keep_dims") != 0);
}

const RegisteredOp reducing[] = {
    {"conv2d", convolved},
    {"linear",
     [](const Inputs& in, const Node&, const Shape&) { return linear(in[0], in[1], in[2]); }},
    {"matmul", binary(matmul)},
    {"attention", attended},
    {"batch_norm", batch_normalised},
    {"layer_norm",
     [](const Inputs& in, const Node& node, const Shape&) {
       return layer_norm(in[0], in[1], in[2], attribute(node, "eps"));
     }},
    {"rms_norm", [](const Inputs& in, const Node& node,
                    const Shape&) { return rms_norm(in[0], in[1], attribute(node, "eps")); }},
    {"local_response_norm",
     [](const Inputs& in, const Node& node, const Shape&) {
       return local_response_norm(in[0], {.size = integer(node, "size"),
                                          .alpha = attribute(node, "alpha"),
                                          .beta = attribute(node, "beta"),
                                          .k = attribute(node, "k")});
     }},
    {"softmax", [](const Inputs& in, const Node& node,
                   const Shape&) { return softmax(in[0], number(node, "dim")); }},
    {"log_softmax", [](const Inputs& in, const Node& node,
                       const Shape&) { return log_softmax(in[0], number(node, "dim")); }},
    {"sum", summed},
};

// --- images --------------------------------------------------------------------------------------

Pool2dOptions pool_options(const Node& node) {
  const auto n = [&](const char* name) { return integer(node, name); };
  return {.kernel = {n("kernel_h"), n("kernel_w")},
          .stride = {n("stride_h"), n("stride_w")},
          .padding = {n("padding_h"), n("padding_w")},
          .ceil_mode = n("ceil_mode") != 0,
          .count_include_pad = n("count_include_pad") != 0};
}
Extent2d extent(const Node& node) { return {integer(node, "h"), integer(node, "w")}; }

const RegisteredOp images[] = {
    {"max_pool2d", [](const Inputs& in, const Node& node,
                      const Shape&) { return max_pool2d(in[0], pool_options(node)); }},
    {"average_pool2d", [](const Inputs& in, const Node& node,
                          const Shape&) { return average_pool2d(in[0], pool_options(node)); }},
    {"adaptive_max_pool2d", [](const Inputs& in, const Node& node,
                               const Shape&) { return adaptive_max_pool2d(in[0], extent(node)); }},
    {"adaptive_average_pool2d",
     [](const Inputs& in, const Node& node, const Shape&) {
       return adaptive_average_pool2d(in[0], extent(node));
     }},
    {"resize2d",
     [](const Inputs& in, const Node& node, const Shape&) {
       return resize2d(in[0], extent(node),
                       {.mode = static_cast<ResizeMode>(integer(node, "mode")),
                        .align_corners = attribute(node, "align_corners") != 0});
     }},
    {"patchify", [](const Inputs& in, const Node& node,
                    const Shape&) { return patchify(in[0], integer(node, "patch")); }},
    {"subsample", [](const Inputs& in, const Node& node,
                     const Shape&) { return subsample(in[0], integer(node, "step")); }},
    {"pad_channels",
     [](const Inputs& in, const Node& node, const Shape&) {
       return pad_channels(in[0], integer(node, "front"), integer(node, "back"));
     }},
    {"channel_shuffle",
     [](const Inputs& in, const Node& node, const Shape&) {
       return channel_shuffle(in[0], integer(node, "groups"));
     }},
    {"window_partition",
     [](const Inputs& in, const Node& node, const Shape&) {
       return window_partition(in[0], integer(node, "window"));
     }},
    {"window_reverse",
     [](const Inputs& in, const Node& node, const Shape&) {
       return window_reverse(in[0], integer(node, "window"), integer(node, "height"),
                             integer(node, "width"));
     }},
};

// --- moves ---------------------------------------------------------------------------------------

Variable padded(const Inputs& in, const Node& node, const Shape&) {
  std::vector<AxisPadding> sides(static_cast<size_t>(in[0].ndim()));
  for (size_t i = 0; i < sides.size(); ++i)
    sides[i] = {integer(node, str("front_", i)), integer(node, str("back_", i))};
  return pad(in[0], sides, attribute(node, "value"));
}

Variable rolled(const Inputs& in, const Node& node, const Shape&) {
  std::vector<int> axes;
  std::vector<int64_t> shifts;
  for (size_t i = 0; i < node.op.attributes.size() / 2; ++i) {
    axes.push_back(number(node, str("axis_", i)));
    shifts.push_back(integer(node, str("shift_", i)));
  }
  return roll(in[0], axes, shifts);
}

SortOrder order_of(const Node& node) {
  return integer(node, "is_descending") != 0 ? SortOrder::kDescending : SortOrder::kAscending;
}
SortedVariables sorted(const Inputs& in, const Node& node) {
  return sort(in[0], number(node, "axis"), order_of(node));
}
SortedVariables best(const Inputs& in, const Node& node, const Shape& shape) {
  const int axis = number(node, "axis");
  return top_k(in[0], shape[static_cast<size_t>(axis)], axis, order_of(node));
}

const RegisteredOp moves[] = {
    {"concat", [](const Inputs& in, const Node& node,
                  const Shape&) { return concat(in, number(node, "dim")); }},
    {"expand",
     [](const Inputs& in, const Node&, const Shape& shape) { return expand(in[0], shape); }},
    {"pad", padded},
    {"roll", rolled},
    {"flip", [](const Inputs& in, const Node& node,
                const Shape&) { return flip(in[0], number(node, "axis")); }},
    {"index_select",
     [](const Inputs& in, const Node& node, const Shape&) {
       return index_select(in[0], number(node, "axis"), in[1].value());
     }},
    {"gather", [](const Inputs& in, const Node& node,
                  const Shape&) { return gather(in[0], number(node, "axis"), in[1]); }},
    {"scatter", [](const Inputs& in, const Node& node,
                   const Shape&) { return scatter(in[0], number(node, "axis"), in[1], in[2]); }},
    {"scatter_add",
     [](const Inputs& in, const Node& node, const Shape&) {
       return scatter_add(in[0], number(node, "axis"), in[1], in[2]);
     }},
    {"sort",
     [](const Inputs& in, const Node& node, const Shape&) { return sorted(in, node).values; }},
    {"sort_indices",
     [](const Inputs& in, const Node& node, const Shape&) { return sorted(in, node).indices; }},
    {"top_k", [](const Inputs& in, const Node& node,
                 const Shape& shape) { return best(in, node, shape).values; }},
    {"top_k_indices", [](const Inputs& in, const Node& node,
                         const Shape& shape) { return best(in, node, shape).indices; }},
    {"gather_rows",
     [](const Inputs& in, const Node&, const Shape&) { return gather_rows(in[0], in[1]); }},
    {"select_top", [](const Inputs& in, const Node& node,
                      const Shape&) { return select_top(in[0], integer(node, "k")); }},
    {"with_special",
     [](const Inputs& in, const Node& node, const Shape&) {
       return with_special(in[0], integer(node, "num_special"));
     }},
};

}  // namespace
}  // namespace vtrain
