#include "data/loader.h"

#include <doctest/doctest.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>

#include "tensor/error.h"
#include "tests/data/handmade_dataset.h"

namespace vtrain {
namespace {

std::vector<int64_t> first(int64_t n) {
  std::vector<int64_t> indices(static_cast<size_t>(n));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

LoaderOptions everything(int workers) {
  return {.batch_size = 8,
          .workers = workers,
          .shuffle = true,
          .seed = 3,
          .phase = "dense",
          .augment = {.crop_padding = 2,
                      .hflip = true,
                      .mixup = 0.8,
                      .cutmix = 1,
                      .reprob = 0.5,
                      .smoothing = 0.1}};
}

std::vector<Batch> rest(Loader& loader) {
  std::vector<Batch> batches;
  while (std::optional<Batch> b = loader.next()) batches.push_back(*b);
  return batches;
}

std::vector<Batch> epoch_of(const LoaderOptions& options, int64_t epoch, int64_t first_batch = 0) {
  Loader loader(std::make_shared<HandmadeDataset>(61, ImageSize{3, 6, 5}), first(61), options);
  loader.start(epoch, first_batch);
  return rest(loader);
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.strides() == b.strides() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}
bool same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  return std::ranges::equal(a, b, [](const Batch& x, const Batch& y) {
    return same(x.images, y.images) && same(x.labels, y.labels) && same(x.targets, y.targets);
  });
}

/// Which samples came, in order: without augmentation the first pixel says it.
std::vector<int64_t> samples_of(const std::vector<Batch>& batches) {
  std::vector<int64_t> samples;
  for (const Batch& b : batches) {
    for (int64_t i = 0; i < b.size(); ++i) {
      samples.push_back(std::lrint(b.images.select(0, i).to_vector()[0]));
    }
  }
  return samples;
}

}  // namespace

TEST_CASE("loader: 0, 1, 2 and 4 workers give the same batches bit for bit") {
  const std::vector<Batch> expected = epoch_of(everything(0), 2);
  REQUIRE(expected.size() == 8);
  for (const int workers : {1, 2, 4}) {
    CAPTURE(workers);
    CHECK(same(epoch_of(everything(workers), 2), expected));
  }
}

TEST_CASE("loader: an epoch entered in the middle goes on as the whole one does") {
  const std::vector<Batch> whole = epoch_of(everything(0), 2);
  for (const int workers : {0, 2}) {
    CAPTURE(workers);
    CHECK(same(epoch_of(everything(workers), 2, 5), {whole.begin() + 5, whole.end()}));
    CHECK(epoch_of(everything(workers), 2, 8).empty());
  }
}

TEST_CASE("loader: what a worker still makes of an abandoned epoch does not reach the next one") {
  const std::vector<Batch> expected = epoch_of(everything(0), 1);
  Loader loader(std::make_shared<HandmadeDataset>(61, ImageSize{3, 6, 5}), first(61),
                everything(4));
  for (int i = 0; i < 50; ++i) {
    loader.start(0, i % 8);
    if (i % 3 == 0) loader.next();
  }
  loader.start(1);
  CHECK(same(rest(loader), expected));
  CHECK(!loader.next());
}

TEST_CASE("loader: a batch that was begun before start is not handed out after it") {
  // A data set that holds whoever asks for an image until the test lets go.
  struct Gated final : HandmadeDataset {
    Gated() : HandmadeDataset(61) {}
    void image(int64_t i, uint8_t* hwc) const override {
      is_entered = true;
      is_entered.notify_all();
      const std::lock_guard lock(gate);
      HandmadeDataset::image(i, hwc);
    }
    mutable std::mutex gate;
    mutable std::atomic<bool> is_entered{false};
  };
  const auto data = std::make_shared<Gated>();
  Loader loader(data, first(61), {.batch_size = 16, .workers = 1, .shuffle = true});
  {
    const std::lock_guard lock(data->gate);
    loader.start(0);
    data->is_entered.wait(false);
    loader.start(1);
  }
  CHECK(samples_of(rest(loader)) == samples_of(epoch_of({.batch_size = 16, .shuffle = true}, 1)));
}

TEST_CASE("loader: every batch of every epoch is mixed by a lambda of its own") {
  std::set<double> lambdas;
  LoaderOptions options{.batch_size = 16,
                        .augment = {.mixup = 1}};  // the first row: labels 0 and 5
  for (const int64_t epoch : {0, 1}) {
    for (const Batch& b : epoch_of(options, epoch)) {
      // Of the first row, at its own label; its partner, the last of the batch, has another.
      const auto own = static_cast<size_t>(b.labels.to_vector().front());
      lambdas.insert(b.targets.to_vector()[own]);
    }
  }
  CHECK(lambdas.size() == 8);
}

TEST_CASE("loader: another seed, epoch or phase gives another order") {
  const LoaderOptions options{.batch_size = 16, .shuffle = true, .seed = 3, .phase = "dense"};
  LoaderOptions seed = options, phase = options;
  seed.seed = 4;
  phase.phase = "sparse";
  const std::vector<int64_t> order = samples_of(epoch_of(options, 0));
  CHECK(order == samples_of(epoch_of(options, 0)));
  CHECK(order != samples_of(epoch_of(options, 1)));
  CHECK(order != samples_of(epoch_of(seed, 0)));
  CHECK(order != samples_of(epoch_of(phase, 0)));
}

TEST_CASE("loader: every sample comes once per epoch, in order without shuffling") {
  for (const int workers : {0, 3}) {
    const LoaderOptions options{.batch_size = 16, .workers = workers, .shuffle = true};
    std::vector<int64_t> order = samples_of(epoch_of(options, 0));
    CHECK(order != first(61));
    std::ranges::sort(order);
    CHECK(order == first(61));
    CHECK(samples_of(epoch_of({.batch_size = 16, .workers = workers}, 0)) == first(61));
  }
}

TEST_CASE("loader: only the given samples come, with their own labels") {
  Loader loader(std::make_shared<HandmadeDataset>(61), {5, 17, 40}, {.batch_size = 2});
  loader.start(0);
  const std::vector<Batch> batches = rest(loader);
  REQUIRE(batches.size() == 2);
  CHECK(samples_of(batches) == std::vector<int64_t>{5, 17, 40});
  CHECK(batches[0].labels.to_vector() == std::vector<double>{5, 7});
  CHECK(batches[1].labels.to_vector() == std::vector<double>{0});
}

TEST_CASE("loader: a batch has the shapes, dtypes and memory order that training expects") {
  const Batch b = epoch_of({.batch_size = 16}, 0).front();
  CHECK(b.images.shape() == Shape{16, 3, 6, 5});
  CHECK(b.images.dtype() == DType::f32);
  CHECK(b.images.is_channels_last());
  // Channel c of pixel (y, x) is byte (5 y + x) 3 + c of the image, image i starts at i.
  CHECK(b.images.select(0, 2).select(0, 1).select(0, 3).select(0, 4).item() ==
        2 + (5 * 3 + 4) * 3 + 1);
  CHECK(b.labels.shape() == Shape{16});
  CHECK(b.labels.dtype() == DType::i32);
  CHECK(b.targets.shape() == Shape{16, 10});
  CHECK(b.first_sample == 0);
}

TEST_CASE("loader: rows of the targets sum to 1, whatever mixes and smooths them") {
  int mixed = 0;
  for (const Batch& b : epoch_of(everything(0), 0)) {
    const std::vector<double> t = b.targets.to_vector();
    for (size_t row = 0; row < t.size(); row += 10) {
      const auto begin = t.begin() + static_cast<int64_t>(row);
      CHECK(std::accumulate(begin, begin + 10, 0.0) ==
            doctest::Approx(1).epsilon(1e-6));  // ten f32 roundings
      mixed += std::count_if(begin, begin + 10, [](double x) { return x > 0.0101; }) == 2;
    }
  }
  CHECK(mixed > 20);
}

TEST_CASE(
    "loader: drop_last leaves out the batch that is not full, and refuses to leave out "
    "everything") {
  CHECK(epoch_of({.batch_size = 16, .drop_last = true}, 0).size() == 3);
  CHECK(epoch_of({.batch_size = 16}, 0).back().size() == 13);
  CHECK_THROWS_WITH_AS(epoch_of({.batch_size = 64, .drop_last = true}, 0),
                       "data.batch_size: 64 is more than the 61 training samples", DataError);
}

TEST_CASE(
    "loader: an error in making a batch reaches next as it was thrown, once and in its place") {
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    Loader loader(std::make_shared<HandmadeDataset>(40, ImageSize{1, 4, 4}, /*broken=*/17),
                  first(40), {.batch_size = 10, .workers = workers});
    loader.start(0);
    CHECK(loader.next().has_value());
    CHECK_THROWS_WITH_AS(loader.next(), "image 17 is broken", std::runtime_error);
    CHECK(samples_of(rest(loader)).front() == 20);
  }
}

TEST_CASE("loader: it ends cleanly before, during and after an epoch") {
  for (int taken = 0; taken < 9; ++taken) {
    Loader loader(std::make_shared<HandmadeDataset>(61, ImageSize{3, 6, 5}), first(61),
                  everything(3));
    CHECK(!loader.next());
    if (taken > 0) loader.start(0);
    for (int i = 0; i < taken; ++i) loader.next();
  }
}

TEST_CASE("loader: one core makes at least 10,000 augmented 28x28 images per second") {
  const auto cpu_seconds = [] {  // of this thread: other processes do not count
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  LoaderOptions options = everything(0);
  options.batch_size = 128;
  Loader loader(std::make_shared<HandmadeDataset>(12800, ImageSize{1, 28, 28}), first(12800),
                options);
  loader.start(0);
  const double begin = cpu_seconds();
  while (loader.next()) {
  }
  const double images_per_second = 12800 / (cpu_seconds() - begin);
  MESSAGE(std::lround(images_per_second) << " images per second");
  CHECK(images_per_second > 10000);
}

}  // namespace vtrain
