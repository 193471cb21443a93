// From image files to batches: transforms, damaged files, and real data where it is there.
#include "data/pipeline.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <set>

#include "data/decode.h"
#include "data/loader.h"
#include "data/read_file.h"
#include "tensor/str.h"
#include "tests/data/image_files.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

constexpr int64_t kFiles = 20;

/// A grey 6x6 picture of one level: which file it is can be read from any pixel.
std::string flat_image(int level) {
  return "P5\n6 6\n255\n" + std::string(36, static_cast<char>(level));
}

/// Files 0..19 in two classes, file i of level 10 i; those in `damaged` are cut.
class Files {
 public:
  explicit Files(const std::set<int64_t>& damaged = {}) {
    for (const char* const split : {"train", "test"}) {
      for (int64_t i = 0; i < kFiles; ++i) {
        const std::string folder = folder_ / str(split, i < kFiles / 2 ? "/cat" : "/dog");
        std::filesystem::create_directories(folder);
        std::string bytes = flat_image(static_cast<int>(10 * i));
        if (damaged.contains(i)) bytes.resize(bytes.size() - 9);
        put_file(str(folder, '/', 100 + i, ".pgm"), bytes);
      }
    }
  }
  std::shared_ptr<const Dataset> open() const {
    return open_dataset("image_folder", {.root = folder_.path()});
  }
  std::string operator/(const std::string& path) const { return folder_ / path; }

 private:
  TemporaryFolder folder_;
};

LoaderOptions identity(int workers, int64_t max_bad) {
  return {.batch_size = 4,
          .workers = workers,
          .shuffle = true,
          .seed = 3,
          .phase = "dense",
          .mean = {0, 0, 0},
          .std = {1.0 / 255, 1.0 / 255, 1.0 / 255},
          .max_bad = max_bad};
}

std::vector<int64_t> all_of(const Dataset& data) {
  std::vector<int64_t> all(static_cast<size_t>(data.size()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

struct Epoch {
  std::vector<int64_t> files;  // as the pixels tell
  std::vector<int64_t> labels;
  std::vector<int64_t> bad;
  std::string error;  // that ended it
};

Epoch run(const Files& files, const LoaderOptions& options, int64_t first_batch = 0,
          const std::vector<int64_t>& indices = {}, const std::vector<Loader::Bad>& known = {}) {
  const auto data = files.open();
  Loader loader(data, indices.empty() ? all_of(*data) : indices, options);
  loader.restore_bad(known);
  loader.start(1, first_batch);
  Epoch epoch;
  try {
    while (const std::optional<Batch> batch = loader.next()) {
      for (int64_t i = 0; i < batch->size(); ++i) {
        epoch.files.push_back(std::lround(batch->images.select(0, i).to_vector()[0] / 10));
        epoch.labels.push_back(std::lround(batch->labels.to_vector()[static_cast<size_t>(i)]));
      }
    }
  } catch (const DataError& error) {
    epoch.error = error.what();
  }
  for (const Loader::Bad& bad : loader.bad()) epoch.bad.push_back(bad.sample);
  return epoch;
}

/// One batch of the picture through a pipeline.
std::vector<float> inputs(const AugmentOptions& augment, std::optional<int64_t> image_size,
                          double crop_pct = 0.875,
                          Interpolation interpolation = Interpolation::kBilinear) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "train/cat");
  put_file(folder / "train/cat/1.jpg", image_text("420.jpg"));
  const auto data = open_dataset("image_folder", {.root = folder.path()});
  PipelineOptions options{.input = input_format(*data, image_size, crop_pct, interpolation),
                          .augment = augment,
                          .seed = 7,
                          .phase = "dense"};
  const Pipeline pipeline(data, options);
  std::vector<float> all(static_cast<size_t>(pipeline.input_size().numel() * 8));
  Pipeline::Buffers buffers;
  for (int64_t place = 0; place < 8; ++place) {
    pipeline.make(0, 0, place, all.data() + place * pipeline.input_size().numel(), buffers);
  }
  return all;
}

/// The folder of real data beside the source tree; "" with a line if it is not there.
std::string shared_data() {
  const char* const named = std::getenv("VTRAIN_SHARED");
  const std::string folder = str(named ? named : VTRAIN_SOURCE_DIR "/../shared", "/data");
  if (std::filesystem::is_directory(folder)) return folder;
  MESSAGE("skipped: ", folder, " is not there (VTRAIN_SHARED names the folder that holds data/)");
  return "";
}

}  // namespace

TEST_CASE(
    "damaged images: the next good file stands in, with its own label, and each is counted "
    "once") {
  const std::set<int64_t> damaged = {3, 9, 10, 19};
  const Files good, files(damaged);
  const Epoch expected = run(good, identity(0, 0)), got = run(files, identity(0, 4));
  REQUIRE(expected.files.size() == kFiles);
  REQUIRE(got.error.empty());
  REQUIRE(got.files.size() == kFiles);
  for (size_t i = 0; i < got.files.size(); ++i) {
    int64_t file = expected.files[i];
    while (damaged.contains(file)) file = (file + 1) % kFiles;  // 9 and 10 -> 11, 19 -> 0
    CHECK(got.files[i] == file);
    CHECK(got.labels[i] == (file < kFiles / 2 ? 0 : 1));
  }
  CHECK(std::set<int64_t>(got.bad.begin(), got.bad.end()) == damaged);
  CHECK(got.bad.size() == 4);
}

TEST_CASE(
    "damaged images: batches, count and the batch that gives up do not depend on the number "
    "of workers") {
  const Files files({3, 9, 10, 19});
  for (const int64_t max_bad : {0, 1, 2, 3, 4, 9}) {
    CAPTURE(max_bad);
    const Epoch expected = run(files, identity(0, max_bad));
    CHECK(expected.error.empty() == (max_bad >= 4));
    CHECK(static_cast<int64_t>(expected.bad.size()) == std::min<int64_t>(max_bad + 1, 4));
    for (const int workers : {1, 4}) {
      CAPTURE(workers);
      const Epoch got = run(files, identity(workers, max_bad));
      CHECK(got.files == expected.files);
      CHECK(got.labels == expected.labels);
      CHECK(got.bad == expected.bad);
      CHECK(got.error == expected.error);
    }
  }
}

TEST_CASE(
    "damaged images: an epoch that is entered in the middle gives up where the whole one "
    "does, if it knows what was found before") {
  const Files files({3, 9, 10, 19});
  const Epoch whole = run(files, identity(0, 3));
  REQUIRE(!whole.error.empty());
  const auto data = files.open();
  for (const int64_t first_batch : {1, 2, 3}) {
    CAPTURE(first_batch);
    Loader loader(data, all_of(*data), identity(0, 3));
    loader.start(1);
    if (static_cast<size_t>(4 * first_batch) > whole.files.size()) continue;
    for (int64_t i = 0; i < first_batch; ++i) loader.next();
    const Epoch rest = run(files, identity(2, 3), first_batch, {}, loader.bad());
    CHECK(rest.error == whole.error);
    CHECK(rest.bad == whole.bad);
    CHECK(rest.files ==
          std::vector<int64_t>(whole.files.begin() + 4 * first_batch, whole.files.end()));
  }
}

TEST_CASE("damaged images: what stands in is one of the loader's own samples") {
  const Files files({3, 4});
  const Epoch epoch = run(files, identity(0, 2), 0, {1, 3, 8});
  CHECK(std::set<int64_t>(epoch.files.begin(), epoch.files.end()) == std::set<int64_t>{1, 8});
  CHECK(epoch.bad == std::vector<int64_t>{3});
  CHECK(run(files, identity(0, 9), 0, {3, 4}).error.ends_with("; all 2 images are damaged"));
}

TEST_CASE("damaged images: the message names the file, what is wrong, and how many are allowed") {
  CHECK(run(Files({3}), identity(0, 0))
            .error.ends_with("/train/cat/103.pgm: is truncated: expected at least 47 bytes, got "
                             "38; data.max_bad allows 0"));
  CHECK(run(Files({3, 4}), identity(0, 1))
            .error.ends_with("got 38; the damaged image number 2; data.max_bad allows 1"));
}

TEST_CASE("pipeline: without transforms the input is the decoded image, normalised") {
  const std::vector<float> got = inputs({}, 29, 1);
  const Image expected = stored_image("evaluate.29_whole");  // of rgb.png; here of the JPEG of it
  CHECK(got.size() == 8 * 29 * 29 * 3);
  double off = 0;
  for (size_t i = 0; i < expected.pixels.size(); ++i) {
    const double mean[] = {0.485, 0.456, 0.406}, std[] = {0.229, 0.224, 0.225};
    off += std::abs((got[i] * std[i % 3] + mean[i % 3]) * 255 - expected.pixels[i]) /
           static_cast<double>(expected.pixels.size());
  }
  CHECK(off < 12);  // what JPEG does to the noise in the picture
}

TEST_CASE("pipeline: each knob changes the batch, and the same options give the same one") {
  const AugmentOptions crop{.scale = std::array{0.2, 1.0}};
  const std::vector<float> plain = inputs({}, 16), cropped = inputs(crop, 16);
  CHECK(plain == inputs({}, 16));
  CHECK(cropped == inputs(crop, 16));
  CHECK(plain != cropped);
  CHECK(plain != inputs({}, 16, 0.7));
  CHECK(plain != inputs({}, 16, 0.875, Interpolation::kBicubic));
  CHECK(plain.size() != inputs({}, 20).size());
  CHECK(cropped != inputs({.scale = std::array{0.2, 0.9}}, 16));
  CHECK(cropped != inputs({.scale = std::array{0.2, 1.0}, .ratio = {0.5, 2}}, 16));
  CHECK(cropped != inputs(crop, 16, 0.875, Interpolation::kBicubic));
  CHECK(cropped == inputs(crop, 16, 0.7));  // crop_pct belongs to evaluation
  CHECK(plain != inputs({.hflip = true}, 16));
  CHECK(plain != inputs({.crop_padding = 2}, 16));
  CHECK(plain != inputs({.color_jitter = 0.4}, 16));
  CHECK(plain != inputs({.hue = 0.2}, 16));
  CHECK(plain != inputs({.randaugment = RandAugmentOptions{}}, 16));
  CHECK(plain != inputs({.reprob = 0.9}, 16));
}

TEST_CASE("pipeline: shifted and mirrored bytes are the same as shifted and mirrored floats") {
  // RandAugment that never acts takes the way over bytes.
  const RandAugmentOptions idle{.prob = 0};
  CHECK(inputs({.crop_padding = 3, .hflip = true}, 16) ==
        inputs({.crop_padding = 3, .hflip = true, .randaugment = idle}, 16));
}

TEST_CASE("resized crop: rectangles lie inside, with the stated areas and ratios") {
  const Random stream(1, "dense", "test");
  const ImageSize size{3, 300, 400};
  double smallest = 1, largest = 0, log_ratio = 0;
  for (int64_t i = 0; i < 3000; ++i) {
    const Box box = draw_resized_crop({0.08, 1}, {0.75, 1.3333}, size, Draws(stream, 0, i));
    REQUIRE(box.top >= 0);
    REQUIRE(box.left >= 0);
    REQUIRE(box.bottom <= 300);
    REQUIRE(box.right <= 400);
    const double area = static_cast<double>(box.area()) / 120000;
    const double ratio = static_cast<double>(box.width()) / static_cast<double>(box.height());
    CHECK(ratio > 0.74);  // whole pixels
    CHECK(ratio < 1.35);
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    log_ratio += std::log(ratio) / 3000;
  }
  CHECK(smallest < 0.09);
  CHECK(smallest > 0.078);
  CHECK(largest > 0.95);
  CHECK(std::abs(log_ratio) < 0.05);  // large ones fit a wide image the better the wider they are
  // Nothing of this area and shape fits: the largest allowed rectangle in the middle.
  CHECK(draw_resized_crop({1, 1}, {0.75, 1.25}, {3, 10, 100}, Draws(stream, 0, 0)) ==
        Box{0, 44, 10, 56});
}

TEST_CASE("real data: the tars of CIFAR-10 hold 50,000 + 10,000 images of ten classes") {
  const std::string folder = shared_data();
  if (folder.empty()) return;
  const auto train = open_dataset("tar_folder", {.root = folder + "/cifar10"});
  const auto test =
      open_dataset("tar_folder", {.root = folder + "/cifar10", .split = Split::kTest});
  CHECK(train->size() == 50000);
  CHECK(test->size() == 10000);
  CHECK(train->class_names() == std::vector<std::string>{"airplane", "automobile", "bird", "cat",
                                                         "deer", "dog", "frog", "horse", "ship",
                                                         "truck"});
  CHECK(train->class_names() == test->class_names());
  CHECK(train->image_size() == ImageSize{3, 32, 32});
  std::array<int64_t, 10> count{};
  std::vector<uint8_t> pixels(3072);
  double sum = 0;
  for (int64_t i = 0; i < test->size(); ++i) {
    ++count.at(static_cast<size_t>(test->label(i)));
    test->image(i, pixels.data());  // every one can be decoded
    sum += std::accumulate(pixels.begin(), pixels.end(), 0.0);
  }
  for (const int64_t n : count) CHECK(n == 1000);
  CHECK(sum / (10000.0 * 3072 * 255) == doctest::Approx(0.4734).epsilon(0.01));  // CIFAR-10's mean
}

TEST_CASE("real data: parts of photos have the pixels of the whole ones") {
  const std::string folder = shared_data();
  if (folder.empty()) return;
  const Random stream(2, "dense", "test");
  int64_t photo = 0, different = 0;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/photos")) {
    paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  REQUIRE(paths.size() == 100);
  paths.resize(24);
  for (const std::filesystem::path& path : paths) {
    const std::vector<uint8_t> bytes = read_file(path.string());
    const Image all = decode_image(bytes, {.path = path.string()});
    const Box region =
        draw_resized_crop({0.02, 0.8}, {0.5, 2}, all.size, Draws(stream, 0, photo++));
    const auto decoder = open_image(bytes, {.path = path.string()});
    Image part;
    const Box got = decoder->decode(region, part);
    for (int64_t y = region.top; y < region.bottom; ++y) {
      different += !std::equal(all.row(y) + region.left * 3, all.row(y) + region.right * 3,
                               part.row(y - got.top) + (region.left - got.left) * 3);
    }
  }
  CHECK(different == 0);
}

}  // namespace vtrain
