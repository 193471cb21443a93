#include "autograd/trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/indexing.h"
#include "autograd/linear.h"
#include "autograd/normalize.h"
#include "autograd/tokens.h"

namespace vtrain {
namespace {

TEST_CASE("trace: records every op with what it read and made, in order") {
  Trace trace;
  const Variable a(zeros({2, 3})), b(zeros({4, 3}));
  {
    const Trace::Recording recording(trace);
    const Variable y = linear(a, b, {});
    relu(y) + y;
  }
  const auto& records = trace.records();
  REQUIRE(records.size() == 3);
  CHECK(records[0].op.name == "linear");
  CHECK(records[1].op.name == "relu");
  CHECK(records[2].op.name == "add");
  CHECK(records[0].inputs == std::vector<int>{0, 1, -1});  // no bias: -1
  CHECK(records[1].inputs == std::vector<int>{records[0].output});
  CHECK(records[2].inputs == std::vector<int>{records[1].output, records[0].output});
  CHECK(trace.values()[0].shape == Shape{2, 3});
  CHECK(trace.values()[0].producer == -1);
  const auto& y = trace.values()[static_cast<size_t>(records[0].output)];
  CHECK(y.shape == Shape{2, 4});
  CHECK(y.dtype == DType::f32);
  CHECK(y.producer == 0);
}

TEST_CASE("trace: nothing is recorded outside a recording, and recordings nest") {
  Trace outer, inner;
  const Variable x(zeros({1}));
  exp(x);
  CHECK(Trace::active() == nullptr);
  {
    const Trace::Recording first(outer);
    exp(x);
    {
      const Trace::Recording second(inner);
      relu(x);
      CHECK(Trace::active() == &inner);
    }
    log(x);
  }
  CHECK(Trace::active() == nullptr);
  REQUIRE(outer.records().size() == 2);
  CHECK(outer.records()[1].op.name == "log");
  REQUIRE(inner.records().size() == 1);
}

TEST_CASE("trace: an op's scope is its module's path, its name and an ordinal of both") {
  Trace trace;
  const Variable x(zeros({1}));
  const Trace::Recording recording(trace);
  exp(x);
  {
    const Trace::Scope block("blocks.0");
    exp(x);
    {
      const Trace::Scope mlp("blocks.0.mlp");
      exp(x);
    }
    exp(x);
    relu(x);
  }
  exp(x);
  std::vector<std::string> scopes;
  for (const Trace::Record& record : trace.records()) scopes.push_back(record.scope);
  CHECK(scopes == std::vector<std::string>{"/exp.0", "blocks.0/exp.0", "blocks.0.mlp/exp.0",
                                           "blocks.0/exp.1", "blocks.0/relu.0", "/exp.1"});
}

TEST_CASE("trace: a parameter is named by its path") {
  Trace trace;
  const Variable x(zeros({2, 3})), w(zeros({4, 3}));
  const Trace::Recording recording(trace);
  trace.name_parameter(w, "head.weight");
  linear(x, w, {});
  const Trace::Record& record = trace.records()[0];
  CHECK(trace.values()[static_cast<size_t>(record.inputs[1])].parameter == "head.weight");
  CHECK(trace.values()[static_cast<size_t>(record.inputs[0])].parameter.empty());
}

TEST_CASE("trace: multiply-adds are those of the products, by hand") {
  Trace trace;
  const Trace::Recording recording(trace);
  const auto last = [&trace] { return trace.records().back().op.macs; };
  linear(Variable(zeros({2, 5, 3})), Variable(zeros({4, 3})), Variable(zeros({4})));
  CHECK(last() == 2 * 5 * 3 * 4);
  matmul(Variable(zeros({6, 2, 3})), Variable(zeros({6, 3, 5})));
  CHECK(last() == 6 * 2 * 3 * 5);
  attention(Variable(zeros({2, 7, 3 * 24})), {}, {},
            {.num_heads = 3, .qk_dim = 8, .v_dim = 8, .scale = 1});
  CHECK(last() == 2 * 3 * 7 * 7 * (8 + 8));  // q k and the sum over v
  layer_norm(Variable(zeros({2, 8})), {}, {}, 1e-6);
  CHECK(last() == 0);
  gelu(Variable(zeros({2, 8})));
  CHECK(last() == 0);
}

TEST_CASE("trace: integer ops are recorded, so that the chain from score to rows is whole") {
  Trace trace;
  const Trace::Recording recording(trace);
  const Variable score(from_values({1, 3}, {1, 3, 2})), x(zeros({1, 4, 2}));
  gather_rows(x, with_special(select_top(score, 2), 1));
  const auto& records = trace.records();
  REQUIRE(records.size() == 3);
  CHECK(records[0].op.name == "select_top");
  CHECK(records[0].op.attributes[0] == std::pair<std::string, double>{"k", 2});
  CHECK(records[1].op.name == "with_special");
  CHECK(records[1].inputs == std::vector<int>{records[0].output});
  CHECK(records[2].inputs.back() == records[1].output);
  CHECK(trace.values()[static_cast<size_t>(records[0].output)].dtype == DType::i32);
}

TEST_CASE("trace: attributes say what shapes do not") {
  Trace trace;
  const Trace::Recording recording(trace);
  softmax(Variable(zeros({2, 3})), -1);
  CHECK(trace.records()[0].op.attributes[0] == std::pair<std::string, double>{"dim", -1});
  patchify(Variable(zeros({1, 1, 4, 4})), 2);
  CHECK(trace.records()[1].op.attributes[0] == std::pair<std::string, double>{"patch", 2});
  using Attributes = std::vector<std::pair<std::string, double>>;
  sum(Variable(zeros({2, 3, 3})), {-1, 0}, true);
  CHECK(trace.records()[2].op.attributes ==
        Attributes{{"keep_dims", 1}, {"axis_0", 2}, {"axis_1", 0}});
  sum(Variable(zeros({2, 3})));
  CHECK(trace.records()[3].op.attributes == Attributes{{"keep_dims", 0}});
  top_k(Variable(zeros({2, 3})), 1, -1, SortOrder::kAscending);
  for (const size_t i : {4, 5}) {
    CHECK(trace.records()[i].op.attributes == Attributes{{"axis", 1}, {"is_descending", 0}});
  }
  attention(Variable(zeros({1, 2, 6})), {}, {},
            {.num_heads = 1,
             .qk_dim = 2,
             .v_dim = 2,
             .scale = 1,
             .mask_eps = 0.5,
             .mask_max = MaskMax::kAll});
  CHECK(trace.records()[6].op.attributes == Attributes{{"num_heads", 1},
                                                       {"qk_dim", 2},
                                                       {"v_dim", 2},
                                                       {"scale", 1},
                                                       {"mask_eps", 0.5},
                                                       {"mask_max_is_all", 1}});
}

TEST_CASE("trace: values of a trace stay apart although their makers are gone") {
  Trace trace;
  const Trace::Recording recording(trace);
  const Variable x(zeros({1}));
  for (int i = 0; i < 100; ++i) exp(x);  // each result dies at once; its address may come again
  std::vector<int> outputs;
  for (const Trace::Record& record : trace.records()) outputs.push_back(record.output);
  std::sort(outputs.begin(), outputs.end());
  CHECK(std::adjacent_find(outputs.begin(), outputs.end()) == outputs.end());
}

}  // namespace
}  // namespace vtrain
