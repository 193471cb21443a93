#include "data/options.h"

#include <doctest/doctest.h>

#include <array>

#include "tensor/error.h"

namespace vtrain {
namespace {

DataOptions data_of(const char* yaml) {
  Recipe recipe = Recipe::from_text(yaml);
  DataOptions options = read_data_options(recipe.section("data"));
  recipe.finish();
  return options;
}
AugmentOptions augment_of(const char* yaml) {
  Recipe recipe = Recipe::from_text(yaml);
  AugmentOptions options = read_augment_options(recipe.section("aug"));
  recipe.finish();
  return options;
}

}  // namespace

TEST_CASE("data options: an empty group means Fashion-MNIST as it comes") {
  const DataOptions o = data_of("{}");
  CHECK(o.name == "fashion_mnist");
  CHECK(o.root.empty());
  CHECK(o.batch_size == 128);
  CHECK(o.workers == 1);
  CHECK(o.val == 0);
  CHECK(!o.limit);
  CHECK(o.mean.empty());
  CHECK(o.std.empty());
  CHECK(o.max_bad == 0);
  CHECK(!o.image_size);
  CHECK(o.crop_pct == 0.875);
  CHECK(o.interpolation == Interpolation::kBilinear);
}

TEST_CASE("data options: every key of the group is read, null where null is allowed") {
  const DataOptions o = data_of(
      "data: {name: synthetic, root: /x, batch_size: 32, workers: 0, val: 0.05, limit: 100, mean: "
      "[0.5], std: [0.25], max_bad: 3, image_size: 160, crop_pct: 0.9, interpolation: bicubic}");
  CHECK(o.max_bad == 3);
  CHECK(o.image_size == 160);
  CHECK(o.crop_pct == 0.9);
  CHECK(o.interpolation == Interpolation::kBicubic);
  CHECK(o.name == "synthetic");
  CHECK(o.root == "/x");
  CHECK(o.batch_size == 32);
  CHECK(o.workers == 0);
  CHECK(o.val == 0.05);
  CHECK(o.limit == 100);
  CHECK(o.mean == std::vector<double>{0.5});
  CHECK(o.std == std::vector<double>{0.25});
  CHECK_NOTHROW(data_of("data: {root: null, limit: null, mean: null, std: null}"));
}

TEST_CASE("data options: values out of range are recipe errors at their key") {
  CHECK_THROWS_WITH_AS(data_of("data: {name: fashionmnist}"), doctest::Contains("fashion_mnist"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {val: 1}"), doctest::Contains("data.val"), RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {batch_size: 0}"), doctest::Contains("data.batch_size"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {max_bad: -1}"), doctest::Contains("data.max_bad"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {image_size: 0}"), doctest::Contains("data.image_size"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {crop_pct: 1.1}"), doctest::Contains("data.crop_pct"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(data_of("data: {interpolation: nearest}"),
                       doctest::Contains("expected one of bilinear, bicubic"), RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {scale: [0.5, 0.08]}"),
                       doctest::Contains("aug.scale: expected two bounds, the lower one first"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {ratio: [1]}"), doctest::Contains("aug.ratio"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {randaugment: {n: 2}}"),
                       doctest::Contains("aug.randaugment.n: unknown key"), RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {randaugment: {magnitude: 11}}"),
                       doctest::Contains("aug.randaugment.magnitude: expected a number in [0, 10]"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {hue: 0.6}"), doctest::Contains("aug.hue"), RecipeError);
  CHECK_THROWS_WITH_AS(augment_of("aug: {smoothing: 1}"), doctest::Contains("aug.smoothing"),
                       RecipeError);
}

TEST_CASE("augment options: every key of the group is read") {
  const AugmentOptions o = augment_of(
      "aug: {crop_padding: 2, hflip: true, mixup: 0.8, cutmix: 1.0, reprob: 0.25, randaugment: "
      "null, smoothing: 0.1, scale: [0.08, 1], ratio: [0.5, 2]}");
  CHECK(o.scale == std::array<double, 2>{0.08, 1});
  CHECK(o.ratio == std::array<double, 2>{0.5, 2});
  CHECK(!o.randaugment);
  const AugmentOptions colors = augment_of(
      "aug: {randaugment: {num_ops: 3, magnitude: 7, mstd: 0, prob: 1}, color_jitter: 0.4, hue: "
      "0.1}");
  REQUIRE(colors.randaugment);
  CHECK(colors.randaugment->num_ops == 3);
  CHECK(colors.randaugment->magnitude == 7);
  CHECK(colors.randaugment->mstd == 0);
  CHECK(colors.randaugment->prob == 1);
  CHECK(colors.color_jitter == 0.4);
  CHECK(colors.hue == 0.1);
  CHECK(augment_of("aug: {randaugment: {}}").randaugment->magnitude == 9);
  CHECK(o.crop_padding == 2);
  CHECK(o.hflip);
  CHECK(o.mixup == 0.8);
  CHECK(o.cutmix == 1);
  CHECK(o.reprob == 0.25);
  CHECK(o.smoothing == 0.1);
}

}  // namespace vtrain
