#include "recipes/hints.h"

#include <algorithm>

#include "recipes/recipe.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

struct Spelling {
  std::string_view theirs, ours;
};

// What timm, torchvision, Ultralytics, PaddleClas and Hugging Face call things; theirs with
// underscores for dashes.
constexpr Spelling kSpellings[] = {
    {"arch", "model.name"},
    {"pretrained", "model.weights"},
    {"initial_checkpoint", "model.weights"},
    {"drop_path", "model.drop_path"},
    {"drop_path_rate", "model.drop_path"},
    {"dataset", "data.name"},
    {"data_dir", "data.root"},
    {"data_path", "data.root"},
    {"batch", "data.batch_size"},
    {"batch_size", "data.batch_size"},
    {"num_workers", "data.workers"},
    {"workers", "data.workers"},
    {"img_size", "data.image_size"},
    {"image_size", "data.image_size"},
    {"imgsz", "data.image_size"},
    {"input_size", "data.image_size"},
    {"crop_pct", "data.crop_pct"},
    {"interpolation", "data.interpolation"},
    {"aa", "aug.randaugment"},
    {"auto_augment", "aug.randaugment"},
    {"color_jitter", "aug.color_jitter"},
    {"smoothing", "aug.smoothing"},
    {"label_smoothing", "aug.smoothing"},
    {"mixup", "aug.mixup"},
    {"cutmix", "aug.cutmix"},
    {"reprob", "aug.reprob"},
    {"opt", "optim.name"},
    {"optimizer", "optim.name"},
    {"lr", "optim.lr"},
    {"lr0", "optim.lr"},
    {"learning_rate", "optim.lr"},
    {"momentum", "optim.momentum"},
    {"wd", "optim.weight_decay"},
    {"weight_decay", "optim.weight_decay"},
    {"clip_grad", "optim.clip_grad"},
    {"max_grad_norm", "optim.clip_grad"},
    {"scheduler", "sched.name"},
    {"lr_scheduler", "sched.name"},
    {"warmup_epochs", "sched.warmup_epochs"},
    {"min_lr", "sched.min_lr"},
    {"epochs", "train.epochs"},
    {"num_train_epochs", "train.epochs"},
    {"grad_accum_steps", "train.accum"},
    {"gradient_accumulation_steps", "train.accum"},
    {"model_ema_decay", "ema.decay"},
};

// The groups in which another framework's name can only mean that; a compression method's `epochs`
// is its own affair.
constexpr std::string_view kGroups[] = {"",      "model", "data", "aug",
                                        "optim", "sched", "ema",  "train"};

/// "phases.sparse." of an address in that phase, else "".
std::string phase_prefix(const std::string& address) {
  constexpr std::string_view kPhases = "phases.";
  if (!address.starts_with(kPhases)) return "";
  return address.substr(0, std::min(address.find('.', kPhases.size()), address.size())) + ".";
}

std::string our_address(const std::string& mapping, std::string_view key) {
  const std::string prefix = phase_prefix(mapping);
  const std::string group = mapping.size() < prefix.size() ? "" : mapping.substr(prefix.size());
  if (std::ranges::find(kGroups, group) == std::end(kGroups)) return "";
  std::string theirs(key);
  std::ranges::replace(theirs, '-', '_');
  const auto* found = std::ranges::find(kSpellings, theirs, &Spelling::theirs);
  if (found == std::end(kSpellings)) return "";
  const std::string written = group.empty() ? std::string(key) : str(group, '.', key);
  return written == found->ours ? "" : prefix + std::string(found->ours);
}

/// Damerau-Levenshtein distance (optimal string alignment): letters inserted, left out, changed, or
/// two neighbours swapped.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  size_t best = std::clamp<size_t>(word.size() / 3, 1, 3) + 1;  // one more than a slip
  std::string result;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance >= best) continue;
    best = distance;
    result = candidate;
  }
  return result;
}

namespace recipe_detail {

std::string comma_list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string unknown_key_hint(const std::string& mapping, std::string_view key,
                             const std::vector<std::string>& known) {
  if (const std::string ours = our_address(mapping, key); !ours.empty()) {
    return str("did you mean ", ours, '?');
  }
  if (const std::string near = nearest(key, known); !near.empty()) {
    return str("did you mean ", near, '?');
  }
  if (const size_t dot = key.find('.'); dot != std::string_view::npos) {
    return str("dots are for the command line; here ", key.substr(0, dot), " is a mapping");
  }
  return known.empty() ? "no key is known here" : "known here: " + comma_list(known);
}

}  // namespace recipe_detail
}  // namespace vtrain
