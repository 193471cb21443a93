#include "compress/deploy/conv2d_node.h"

namespace vtrain {

Conv2dOptions conv2d_options(const Graph::Node& node) {
  const auto number = [&](const char* name) { return integer(node, name); };
  return {
      .stride = {number("stride_h"), number("stride_w")},
      .padding = {number("pad_top"), number("pad_bottom"), number("pad_left"), number("pad_right")},
      .dilation = {number("dilation_h"), number("dilation_w")},
      .groups = number("groups")};
}

}  // namespace vtrain
