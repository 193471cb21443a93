#include "compress/edit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>

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

TEST_CASE("edit: a block that hooks skip is dropped with the same logits, and is forgotten") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.initialise(1);
  const Tensor images = Random(2, "", "images").normal({2, 1, 28, 28}, {}).channels_last();
  const Tensor whole = network.logits(images);
  network.hooks().wrap_tokens("blocks.3",
                              {Slot::kStructure, "skipper",
                               [](const Tokens& t, const InnerTokens&, const Pass&) { return t; }});
  const int64_t before = network.parameter_count();
  std::vector<double> differences;
  std::vector<std::string> gone;
  Edit edit(network, "skipper",
            {.images = images,
             .verified = [&](double d) { differences.push_back(d); },
             .follow = {},
             .forget = [&](const Parameter& p) { gone.push_back(p.path()); }});
  CHECK_THROWS_AS(edit.drop("blocks.9"), Error);
  edit.drop("blocks.3").apply();
  CHECK(differences == std::vector<double>{0});
  CHECK(network.parameter_count() < before);
  CHECK(gone.size() == 12);
  CHECK(std::ranges::all_of(gone,
                            [](const std::string& path) { return path.starts_with("blocks.3."); }));
  CHECK(network.hooks().empty());
  CHECK(relative_difference(whole, network.logits(images)) > 1e-3);
  CHECK(network.clone()->logits(images).to_vector() == network.logits(images).to_vector());
}

TEST_CASE("edit: a growth is compared with what was there before, and those who follow copy too") {
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  network.initialise(1);
  const Tensor images = Random(2, "", "images").normal({2, 1, 28, 28}, {}).channels_last();
  const CutGroups groups(network);
  Growth growth(groups.groups().size());
  growth[0] = {5};
  std::vector<double> differences;
  std::map<std::string, std::vector<int64_t>> followed;
  Edit edit(network, "grower",
            {.images = images,
             .verified = [&](double d) { differences.push_back(d); },
             .follow =
                 [&](const Parameter& p, int axis, const std::vector<int64_t>& keep) {
                   followed[str(p.path(), ' ', axis)] = keep;
                 }});
  edit.grow(groups, growth).apply();
  REQUIRE(differences.size() == 1);
  CHECK(differences[0] < 1e-5);
  CHECK(network.parameter("features.0.weight").value().shape() == Shape{17, 1, 3, 3});
  CHECK(network.parameter("features.4.weight").value().shape() == Shape{32, 17, 3, 3});
  std::vector<int64_t> from(17);
  std::iota(from.begin(), from.begin() + 6, 0);
  std::iota(from.begin() + 6, from.end(), 5);
  CHECK(followed.size() == 7);
  CHECK(followed.at("features.1.running_var 0") == from);
  CHECK(followed.at("features.4.weight 1") == from);
}

}  // namespace
}  // namespace vtrain
