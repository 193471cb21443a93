// A plan is compared on the decisions of its network.
#include "compress/deploy/compare.h"

#include <doctest/doctest.h>

#include "nn/module_registry.h"
#include "tensor/ops/binary.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

TEST_CASE("compare: where decisions differ, values are compared on the network's") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.initialise(1);
  for (int i = 0; i < 6; ++i) {
    network.set_part(
        str("blocks.", i, ".after_attention.in"),
        make_module("tome_merge", {{"r", 6}, {"block", i}, {"metric", 0}, {"prop_attn", 1}}));
  }
  Plan plan(network);
  const Tensor images = Random(2, "", "images").normal({16, 1, 28, 28}, {}).channels_last();
  const PlanDifference same = compare(plan, network, images, 1e-4);
  CHECK(same.logits < 1e-4);

  // Keys a little off: some pairs are others, and what is behind them.
  for (int i = 0; i < 6; ++i) {
    Parameter qkv = network.parameter(str("blocks.", i, ".attn.qkv.weight"));
    const Tensor noise = Random(3, "", qkv.path()).normal(qkv.value().shape(), {});
    qkv.set(add(qkv.value(), multiply(noise, 1e-4)));
  }
  const PlanDifference off = compare(plan, network, images, 1e-4);
  CHECK(off.decisions > 0.05);
  CHECK(off.decisions <= 1);
  CHECK(off.logits > 0);
  CHECK(off.logits < 0.3 * max_relative_difference(plan.run(images), network.logits(images)));
  CHECK(!off.first_layer.empty());
}

}  // namespace
}  // namespace vtrain
