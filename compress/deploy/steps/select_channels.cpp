// Some channels of a value: in the pass of the layer norm in front where there is one
// (layer_norm_cpu.cpp), else computed as in training.
#include "autograd/select_channels.h"

#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

const RegisteredOp registered("select_channels",
                              [](const std::vector<Variable>& in, const Graph::Node&,
                                 const Shape&) { return select_channels(in[0], in[1]); });

}  // namespace
}  // namespace vtrain
