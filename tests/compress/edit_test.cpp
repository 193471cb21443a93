#include "compress/edit.h"

#include <doctest/doctest.h>

namespace vtrain {
namespace {

TEST_CASE("edit: a place that has a part of an earlier phase is refused, naming both") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  const auto keep = [](int64_t k) {
    return make_module("dynamicvit_keep_top",
                       {{"k", static_cast<double>(k)}, {"stage", 0}, {"dim", 96}, {"random", 1}});
  };
  network.set_part("blocks.1.in", keep(30));
  Edit edit(network, "later", {.images = {}, .verified = {}, .follow = {}});
  CHECK_THROWS_WITH_AS(edit.replace("blocks.1.in", keep(20)),
                       "later: blocks.1.in has a part of an earlier phase, dynamicvit_keep_top, "
                       "already; only one can stand there",
                       RecipeError);
  edit.replace("blocks.2.in", keep(20));  // free
}

TEST_CASE("edit: a difference is relative to the largest logit of the first") {
  CHECK(relative_difference(from_values({2, 2}, {1, -4, 2, 0}),
                            from_values({2, 2}, {1, -4, 2.5, 0.25})) ==
        doctest::Approx(0.125));  // 0.5 of 4
}

}  // namespace
}  // namespace vtrain
