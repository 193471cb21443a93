// Tokens that merge. Rows are written straight to their place; what is decided is small.
#include "autograd/token_merge.h"

#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

class MergeRowsCall final : public PlanCall {
 public:
  MergeRowsCall(Tensor x, Tensor sizes, Tensor to, Tensor y)
      : x_(std::move(x)), sizes_(std::move(sizes)), to_(std::move(to)), y_(std::move(y)) {}
  void run() override { token_merge_kernels.on(Device{}).merge_into(x_, sizes_, to_, y_); }
  std::string kernel() const override { return "merge rows"; }

 private:
  Tensor x_, sizes_, to_, y_;
};

class MergeRowsStep final : public PlanStep {
 public:
  explicit MergeRowsStep(const Graph::Node& node) : PlanStep(node, node.inputs) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_contiguous(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<MergeRowsCall>(inputs[0], inputs[1], inputs[2], output);
  }
};

const RegisteredStep registered("merge_rows",
                                [](const Graph::Node& node,
                                   const PlanValues&) -> std::unique_ptr<PlanStep> {
                                  return std::make_unique<MergeRowsStep>(node);
                                });

using Inputs = std::vector<Variable>;

const RegisteredOp decisions[] = {
    {"match_tokens",
     [](const Inputs& in, const Graph::Node& node, const Shape&) {
       return match_tokens(in[0], {.begin = integer(node, "begin"),
                                   .heads = integer(node, "heads"),
                                   .width = integer(node, "width"),
                                   .num_special = integer(node, "num_special"),
                                   .r = integer(node, "r")});
     }},
    {"merge_sizes", [](const Inputs& in, const Graph::Node& node, const Shape&) {
       return merge_sizes(in[0], in[1], integer(node, "rows"));
     }}};

}  // namespace
}  // namespace vtrain
