#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "data/dataset.h"
#include "data/transforms.h"
#include "tensor/batch.h"
#include "tensor/random.h"

namespace vtrain {

struct LoaderOptions {
  int64_t batch_size = 128;
  int workers = 0;  // threads that work ahead; 0: the caller makes each batch itself
  bool shuffle = false;
  bool drop_last = false;  // leaves out a last batch that is not full
  uint64_t seed = 0;
  std::string phase = {};
  AugmentOptions augment = {};
  std::vector<double> mean = {}, std = {};  // per channel; empty: the data set's own
};

/// Batches of a data set, epoch by epoch. What a batch contains depends on (seed, phase, epoch,
/// place in the epoch) only, never on the number of workers, on timing, or on where the epoch was
/// entered. One thread at a time may call start and next.
class Loader {
 public:
  /// `indices`: the samples of `dataset` that make an epoch. Throws DataError if mean or std do not
  /// fit, or if there is no full batch while drop_last is set.
  Loader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices,
         LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Begins an epoch at `first_batch`, dropping what is left of the one before.
  void start(int64_t epoch, int64_t first_batch = 0);

  /// The next batch; nullopt at the end of the epoch and before the first start. If making it
  /// failed, throws what failed, once; the call after it goes on with the batch behind.
  std::optional<Batch> next();

  int64_t samples() const { return static_cast<int64_t>(indices_.size()); }
  int64_t batches_per_epoch() const { return batches_; }
  double wait_seconds() const { return wait_seconds_; }  // spent inside next() since start

 private:
  /// An epoch as workers see it; one that is still busy with an old epoch keeps that alive.
  struct Epoch {
    int64_t number = 0;
    std::vector<int64_t> order;  // of indices_
  };
  struct Made {
    Batch batch;
    std::exception_ptr error;
  };

  Batch make(const Epoch& epoch, int64_t index) const;
  Made try_to_make(const Epoch& epoch, int64_t index) const;
  Made take(int64_t index);
  void work();

  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> indices_;
  LoaderOptions options_;
  Normalize normalize_;
  int64_t classes_ = 0, batches_ = 0, prefetch_ = 0;
  Random order_stream_, crop_stream_, flip_stream_, erase_stream_, mix_stream_;
  double wait_seconds_ = 0;

  // Shared with the workers, under mutex_. Workers make batches up to next_out_ + prefetch_.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Epoch> epoch_;
  std::map<int64_t, Made> ready_;  // of epoch_, by place in it
  int64_t next_to_make_ = 0, next_out_ = 0;
  bool is_stopping_ = false;
  std::vector<std::jthread> workers_;  // last: joined before anything they use goes
};

}  // namespace vtrain
