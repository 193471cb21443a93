// How fast the loader makes batches, without training: bench/loader_speed.sh runs it.
//   loader FOLDER train|eval WORKERS SECONDS
// FOLDER is an image_folder. `train`: random resized crop to 224 and mirroring; `eval`: resize to
// 256 and centre crop of 224. Batches of 64. Prints images per second.
#include "data/loader.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "tensor/error.h"

namespace {

int run(const std::string& folder, std::string_view mode, int workers, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto data = vtrain::open_dataset("image_folder", {.root = folder});
  std::vector<int64_t> all(static_cast<size_t>(data->size()));
  std::iota(all.begin(), all.end(), 0);
  vtrain::LoaderOptions options{.batch_size = 64, .workers = workers};
  options.input =
      vtrain::input_format(*data, /*image_size=*/224, 0.875, vtrain::Interpolation::kBilinear);
  if (mode == "train") {
    options.shuffle = options.augment.hflip = true;
    options.augment.scale = {0.08, 1.0};
  }
  vtrain::Loader loader(data, all, options);
  int64_t epoch = 0;
  loader.start(epoch);
  const auto next_size = [&] {
    std::optional<vtrain::Batch> batch = loader.next();
    while (!batch) {
      loader.start(++epoch);
      batch = loader.next();
    }
    return batch->size();
  };
  for (int i = 0; i < 4; ++i) next_size();  // files are cached, threads run
  const Clock::time_point begin = Clock::now();
  int64_t images = 0;
  double elapsed = 0;
  while (elapsed < seconds) {
    images += next_size();
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  std::printf("%.1f\n", static_cast<double>(images) / elapsed);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: loader FOLDER train|eval WORKERS SECONDS\n", stderr);
    return 2;
  }
  try {
    return run(argv[1], argv[2], std::atoi(argv[3]), std::atof(argv[4]));
  } catch (const vtrain::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
