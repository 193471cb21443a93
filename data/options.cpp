#include "data/options.h"

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
  if (data.integer("max_bad", 0, at_least(0),
                   "damaged images to skip before giving up; only 0 so far") != 0) {
    data.fail("max_bad",
              "is not available yet: no data set so far reads image files one by one; expected 0");
  }
  return o;
}

AugmentOptions read_augment_options(Recipe aug) {
  AugmentOptions o;
  o.crop_padding = aug.integer("crop_padding", 0, at_least(0),
                               "zeros around the image before a random crop of its size");
  o.hflip = aug.flag("hflip", false, "mirror half of the images");
  o.mixup = aug.real("mixup", 0, at_least(0), "alpha of mixup's Beta(alpha, alpha); 0: off");
  o.cutmix = aug.real("cutmix", 0, at_least(0), "alpha of cutmix's Beta(alpha, alpha); 0: off");
  o.reprob = aug.real("reprob", 0, in(0, 1), "probability of random erasing");
  o.smoothing =
      aug.real("smoothing", 0, {.low = 0, .high = 1, .high_open = true}, "label smoothing");
  if (aug.has("randaugment")) {
    aug.fail("randaugment", "RandAugment is not available yet; expected null");
  }
  aug.maybe_text("randaugment", "not available yet");
  return o;
}

}  // namespace vtrain
