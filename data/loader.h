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
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/pipeline.h"
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
  std::optional<InputFormat> input = {};    // nullopt: images as the data set has them, of one size
  int64_t max_bad = 0;                      // damaged files that are skipped before it gives up
};

/// Batches of a data set, epoch by epoch. What a batch contains depends on (seed, phase, epoch,
/// place in the epoch) only, never on the number of workers, on timing, or on where the epoch was
/// entered. One thread at a time may call start and next.
///
/// The place of a damaged image is taken by the next one behind it in `indices` that is not damaged
/// (behind the last comes the first), with its own label and the place's own draws. So which image
/// stands in for which follows from the files alone. Damaged files are counted once each, when the
/// batch that met them is handed out: the count depends on the batches taken, not on what workers
/// have made ahead.
class Loader {
 public:
  struct Bad {
    int64_t sample = 0;   // of the data set
    std::string message;  // path and reason
  };

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
  /// failed, throws what failed, once; the call after it goes on with the batch behind. Throws
  /// DataError naming the file when more than max_bad different files have turned out damaged.
  std::optional<Batch> next();

  /// The damaged files met so far, in the order in which batches met them.
  const std::vector<Bad>& bad() const { return bad_; }
  /// What bad() was when a run was interrupted, so that the count goes on from there.
  void restore_bad(std::vector<Bad> bad) { bad_ = std::move(bad); }

  int64_t samples() const { return static_cast<int64_t>(indices_.size()); }
  int64_t batches_per_epoch() const { return batches_; }
  double wait_seconds() const { return wait_seconds_; }  // spent inside next() since start

 private:
  /// An epoch as workers see it; one that is still busy with an old epoch keeps that alive.
  struct Epoch {
    int64_t number = 0;
    std::vector<int64_t> order;  // places in indices_
  };
  struct Made {
    Batch batch;
    std::exception_ptr error;
    std::vector<Bad> bad;  // different ones, at most max_bad + 1: with that many it is not finished
  };

  void make(const Epoch& epoch, int64_t index, Made& made) const;
  int64_t make_sample(int64_t position, int64_t epoch, int64_t place, float* hwc,
                      Pipeline::Buffers& buffers, std::vector<Bad>& bad) const;
  void count_bad(const std::vector<Bad>& bad);
  Made try_to_make(const Epoch& epoch, int64_t index) const;
  Made take(int64_t index);
  void work();

  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> indices_;
  LoaderOptions options_;
  Pipeline pipeline_;
  int64_t classes_ = 0, batches_ = 0, prefetch_ = 0;
  Random order_stream_, mix_stream_;
  double wait_seconds_ = 0;
  std::vector<Bad> bad_;

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
