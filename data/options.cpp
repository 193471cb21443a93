#include "data/options.h"

#include <array>
#include <string_view>

#include "data/dataset.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const DatasetEntry& entry : registered_datasets()) names.push_back(entry.name);
  return names;
}

/// A list, or null for "the data set's own". The reader has no optional lists, so null is read as
/// an absent number.
std::vector<double> maybe_reals(Recipe& r, std::string_view key, Range each,
                                std::string_view help) {
  if (r.has(key)) return r.reals(key, {}, each, help);
  r.maybe_real(key, each, help);
  return {};
}

/// Two bounds, the lower one first; null or absent: `otherwise`.
std::optional<std::array<double, 2>> maybe_pair(
    Recipe& r, std::string_view key, Range each, std::string_view help,
    std::optional<std::array<double, 2>> otherwise = std::nullopt) {
  std::vector<double> pair;
  if (otherwise) {
    pair = r.reals(key, {(*otherwise)[0], (*otherwise)[1]}, each, help);
  } else {
    pair = maybe_reals(r, key, each, help);
    if (pair.empty() && !r.has(key)) return std::nullopt;
  }
  if (pair.size() != 2 || pair[0] > pair[1])
    r.fail(key, "expected two bounds, the lower one first");
  return std::array<double, 2>{pair[0], pair[1]};
}

}  // namespace

DataOptions read_data_options(Recipe data) {
  DataOptions o;
  o.name = data.choice("name", o.name, dataset_names(), "data set, see `vtrain list data`");
  o.root = data.maybe_text("root", "folder of its files; null: its default place").value_or("");
  o.batch_size = data.integer("batch_size", o.batch_size, at_least(1), "samples per step");
  o.workers = static_cast<int>(data.integer("workers", o.workers, in(0, 256),
                                            "threads that prepare batches ahead; 0: none"));
  o.val = data.real("val", o.val, {.low = 0, .high = 1, .high_open = true},
                    "fraction of the training split held out for validation");
  o.limit = data.maybe_integer("limit", at_least(1),
                               "use this many training samples of the seeded order; null: all");
  o.mean =
      maybe_reals(data, "mean", {}, "list, per channel, of pixels in [0, 1]; null: the data set's");
  o.std = maybe_reals(data, "std", above(0),
                      "list, per channel, of pixels in [0, 1]; null: the data set's");
  o.image_size = data.maybe_integer(
      "image_size", at_least(1),
      "side of the inputs; null: that of the images if they share one and are square, else 224");
  o.crop_pct = data.real("crop_pct", o.crop_pct, in_open_low(0, 1),
                         "side of the inputs over the shorter side of the resized image that they "
                         "are the middle of, where images are resized");
  const Interpolation choices[] = {Interpolation::kBilinear, Interpolation::kBicubic};
  const std::string interpolation =
      data.choice("interpolation", name_of(o.interpolation),
                  {std::string(name_of(choices[0])), std::string(name_of(choices[1]))},
                  "how images are resized, antialiased as PIL does it");
  o.interpolation = interpolation == name_of(choices[0]) ? choices[0] : choices[1];
  o.max_bad =
      data.integer("max_bad", o.max_bad, at_least(0),
                   "damaged images to skip before giving up; 0: the first one ends the run");
  return o;
}

AugmentOptions read_augment_options(Recipe aug) {
  AugmentOptions o;
  o.scale = maybe_pair(aug, "scale", in_open_low(0, 1),
                       "random resized crop: bounds of its share of the area, as [0.08, 1]; null: "
                       "none");
  o.ratio = *maybe_pair(aug, "ratio", above(0), "bounds of its width over its height", o.ratio);
  o.crop_padding = aug.integer("crop_padding", 0, at_least(0),
                               "zeros around the image before a random crop of its size");
  o.hflip = aug.flag("hflip", false, "mirror half of the images");
  o.mixup = aug.real("mixup", 0, at_least(0), "alpha of mixup's Beta(alpha, alpha); 0: off");
  o.cutmix = aug.real("cutmix", 0, at_least(0), "alpha of cutmix's Beta(alpha, alpha); 0: off");
  o.reprob = aug.real("reprob", 0, in(0, 1), "probability of random erasing");
  o.smoothing =
      aug.real("smoothing", 0, {.low = 0, .high = 1, .high_open = true}, "label smoothing");
  Recipe policy =
      aug.section("randaugment", "timm's RandAugment, {} with its defaults; null: none");
  RandAugmentOptions r;
  r.num_ops = policy.integer("num_ops", r.num_ops, in(1, 15), "operations for each image");
  r.magnitude = policy.real("magnitude", r.magnitude, in(0, 10), "how strong they are");
  r.mstd = policy.real("mstd", r.mstd, at_least(0), "standard deviation of the magnitude");
  r.prob = policy.real("prob", r.prob, in(0, 1), "probability of each operation");
  if (aug.has("randaugment")) o.randaugment = r;
  o.color_jitter = aug.real("color_jitter", 0, at_least(0),
                            "brightness, contrast and saturation change by up to this share");
  o.hue = aug.real("hue", 0, in(0, 0.5), "hue turns by up to this share of the colour circle");
  return o;
}

}  // namespace vtrain
