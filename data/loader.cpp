#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

int64_t count_batches(int64_t samples, const LoaderOptions& options) {
  if (options.batch_size < 1) {
    throw DataError(str("data.batch_size: expected at least 1, got ", options.batch_size));
  }
  const int64_t full = samples / options.batch_size;
  if (options.drop_last && full == 0) {
    throw DataError(str("data.batch_size: ", options.batch_size, " is more than the ", samples,
                        " training samples"));
  }
  return options.drop_last || samples % options.batch_size == 0 ? full : full + 1;
}

Normalize normalize_for(const Dataset& dataset, const LoaderOptions& options) {
  return {dataset.image_size().channels,
          options.mean.empty() ? dataset.default_mean() : options.mean,
          options.std.empty() ? dataset.default_std() : options.std};
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices,
               LoaderOptions options)
    : dataset_(std::move(dataset)),
      indices_(std::move(indices)),
      options_(std::move(options)),
      normalize_(normalize_for(*dataset_, options_)),
      classes_(dataset_->classes()),
      batches_(count_batches(samples(), options_)),
      prefetch_(2 + options_.workers),
      order_stream_(options_.seed, options_.phase, "data.order"),
      crop_stream_(options_.seed, options_.phase, "data.crop"),
      flip_stream_(options_.seed, options_.phase, "data.hflip"),
      erase_stream_(options_.seed, options_.phase, "data.erase"),
      mix_stream_(options_.seed, options_.phase, "data.mix") {
  for (int i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
}

void Loader::start(int64_t epoch, int64_t first_batch) {
  auto next = std::make_shared<Epoch>();
  next->number = epoch;
  next->order = indices_;
  if (options_.shuffle) {
    const std::vector<int64_t> order = order_stream_.permutation(samples(), epoch);
    std::ranges::transform(order, next->order.begin(),
                           [&](int64_t i) { return indices_[static_cast<size_t>(i)]; });
  }
  wait_seconds_ = 0;
  {
    const std::lock_guard lock(mutex_);
    epoch_ = std::move(next);
    ready_.clear();
    next_to_make_ = next_out_ = first_batch;
  }
  changed_.notify_all();
}

std::optional<Batch> Loader::next() {
  if (!epoch_ || next_out_ >= batches_) return std::nullopt;
  const auto begin = std::chrono::steady_clock::now();
  Made made = take(next_out_);
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (made.error) std::rethrow_exception(made.error);
  return std::move(made.batch);
}

Loader::Made Loader::take(int64_t index) {
  if (workers_.empty()) {
    ++next_out_;
    return try_to_make(*epoch_, index);
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ready_.contains(index); });
  Made made = std::move(ready_.extract(index).mapped());
  ++next_out_;  // room for one more
  lock.unlock();
  changed_.notify_all();
  return made;
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] {
      return is_stopping_ || (epoch_ && next_to_make_ < std::min(batches_, next_out_ + prefetch_));
    });
    if (is_stopping_) return;
    const std::shared_ptr<const Epoch> epoch = epoch_;
    const int64_t index = next_to_make_++;
    lock.unlock();
    Made made = try_to_make(*epoch, index);
    lock.lock();
    if (epoch != epoch_) continue;  // start was called meanwhile
    ready_.emplace(index, std::move(made));
    changed_.notify_all();
  }
}

Loader::Made Loader::try_to_make(const Epoch& epoch, int64_t index) const {
  try {
    return {make(epoch, index), nullptr};
  } catch (...) {
    return {{}, std::current_exception()};
  }
}

Batch Loader::make(const Epoch& epoch, int64_t index) const {
  const AugmentOptions& augment = options_.augment;
  const ImageSize size = dataset_->image_size();
  const int64_t first = index * options_.batch_size;
  const int64_t n = std::min(options_.batch_size, samples() - first);
  Batch batch{.images = Tensor::empty_channels_last({n, size.channels, size.height, size.width}),
              .labels = Tensor::empty({n}, DType::i32),
              .targets = Tensor::empty({n, classes_})};
  float* const images = batch.images.data<float>();
  int32_t* const labels = batch.labels.data<int32_t>();
  std::vector<uint8_t> pixels(static_cast<size_t>(size.numel()));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t place = first + i, sample = epoch.order[static_cast<size_t>(place)];
    float* const image = images + i * size.numel();
    dataset_->image(sample, pixels.data());
    labels[i] = dataset_->label(sample);
    const Placement at = draw_placement(augment, Draws(crop_stream_, epoch.number, place),
                                        Draws(flip_stream_, epoch.number, place));
    normalize_.apply(pixels.data(), size, at, image);
    erase(image, size,
          draw_erasing(augment.reprob, size, Draws(erase_stream_, epoch.number, place)));
  }
  const Mix mix = draw_mix(augment, size, Draws(mix_stream_, epoch.number, index));
  mix_images(images, n, size, mix);
  write_targets({labels, static_cast<size_t>(n)}, classes_, augment.smoothing, mix.lambda,
                batch.targets.data<float>());
  return batch;
}

}  // namespace vtrain
