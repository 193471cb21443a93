#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <numeric>
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

PipelineOptions pipeline_options(const Dataset& dataset, const LoaderOptions& options) {
  return {.input = options.input.value_or(InputFormat{.size = dataset.image_size()}),
          .augment = options.augment,
          .mean = options.mean,
          .std = options.std,
          .seed = options.seed,
          .phase = options.phase};
}

/// Adds what is not there yet.
template <class Bad>
void add_new(std::vector<Bad>& all, const Bad& bad) {
  if (std::ranges::find(all, bad.sample, &Bad::sample) == all.end()) all.push_back(bad);
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices,
               LoaderOptions options)
    : dataset_(std::move(dataset)),
      indices_(std::move(indices)),
      options_(std::move(options)),
      pipeline_(dataset_, pipeline_options(*dataset_, options_)),
      classes_(dataset_->classes()),
      batches_(count_batches(samples(), options_)),
      prefetch_(2 + options_.workers),
      order_stream_(options_.seed, options_.phase, "data.order"),
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
  next->order.resize(indices_.size());
  std::iota(next->order.begin(), next->order.end(), 0);
  if (options_.shuffle) next->order = order_stream_.permutation(samples(), epoch);
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
  count_bad(made.bad);
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
  Made made;
  try {
    make(epoch, index, made);
  } catch (...) {
    made.error = std::current_exception();
  }
  return made;
}

void Loader::count_bad(const std::vector<Bad>& bad) {
  for (const Bad& b : bad) {
    const size_t before = bad_.size();
    add_new(bad_, b);
    const auto count = static_cast<int64_t>(bad_.size());
    if (bad_.size() == before || count <= options_.max_bad) continue;
    throw DataError(str(b.message, count > 1 ? str("; the damaged image number ", count) : "",
                        "; data.max_bad allows ", options_.max_bad));
  }
}

/// Writes the image at `position` of indices_, or its stand-in; returns which sample that was.
int64_t Loader::make_sample(int64_t position, int64_t epoch, int64_t place, float* hwc,
                            Pipeline::Buffers& buffers, std::vector<Bad>& bad) const {
  for (;; position = (position + 1) % samples()) {
    const int64_t sample = indices_[static_cast<size_t>(position)];
    try {
      pipeline_.make(sample, epoch, place, hwc, buffers);
      return sample;
    } catch (const DamagedImage& damaged) {
      add_new(bad, {sample, damaged.what()});
      const auto count = static_cast<int64_t>(bad.size());
      if (count > options_.max_bad) throw;  // next() will say so
      if (count < samples()) continue;
      throw DataError(str(bad.front().message, "; all ", count, " images are damaged"));
    }
  }
}

void Loader::make(const Epoch& epoch, int64_t index, Made& made) const {
  const AugmentOptions& augment = options_.augment;
  const ImageSize size = pipeline_.input_size();
  const int64_t first = index * options_.batch_size;
  const int64_t n = std::min(options_.batch_size, samples() - first);
  Batch& batch = made.batch;
  batch = {.images = Tensor::empty_channels_last({n, size.channels, size.height, size.width}),
           .labels = Tensor::empty({n}, DType::i32),
           .targets = Tensor::empty({n, classes_})};
  float* const images = batch.images.data<float>();
  int32_t* const labels = batch.labels.data<int32_t>();
  Pipeline::Buffers buffers;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t place = first + i;
    const int64_t sample = make_sample(epoch.order[static_cast<size_t>(place)], epoch.number, place,
                                       images + i * size.numel(), buffers, made.bad);
    labels[i] = dataset_->label(sample);
  }
  const Mix mix = draw_mix(augment, size, Draws(mix_stream_, epoch.number, index));
  mix_images(images, n, size, mix);
  write_targets({labels, static_cast<size_t>(n)}, classes_, augment.smoothing, mix.lambda,
                batch.targets.data<float>());
}

}  // namespace vtrain
