// Accuracy of a network on simulated integers after calibration alone, for each way to choose
// ranges, beside that in f32.
//
//     build/int8_accuracy resnet20.safetensors tar_folder ../shared/data/cifar10 [calibration
//     images]
//
// Calibration images are the first of the training split, without augmentation.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "compress/deploy/twin.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "train/evaluate.h"

namespace vtrain {
namespace {

Loader make_loader(const Network& network, const std::string& data, const std::string& root,
                   Split split, int64_t at_most) {
  const auto set = open_dataset(data, {.root = root, .split = split});
  std::vector<int64_t> indices(static_cast<size_t>(set->size()));
  std::iota(indices.begin(), indices.end(), 0);
  // Data sets are sorted by class: the calibration images are spread over all of them.
  if (at_most > 0 && at_most < set->size()) {
    for (int64_t i = 0; i < at_most; ++i)
      indices[static_cast<size_t>(i)] = i * (set->size() / at_most);
    indices.resize(static_cast<size_t>(at_most));
  }
  const int64_t side = network.architecture().options.image_size;
  const ImageSize own = set->image_size();
  InputFormat input{.size = {own.channels, side, side}};
  input.is_resized = own.height != side || own.width != side;
  return {set, indices,
          LoaderOptions{.batch_size = 250,
                        .workers = 1,
                        .mean = network.preprocessing.mean,
                        .std = network.preprocessing.std,
                        .input = input}};
}

double top1(Network& network, Loader& loader) { return evaluate(network, loader).top1_percent; }

int run(const std::string& weights, const std::string& data, const std::string& root,
        int64_t images) {
  const std::unique_ptr<Network> network = Network::load(weights);
  Loader test = make_loader(*network, data, root, Split::kTest, 0);
  Loader calibration = make_loader(*network, data, root, Split::kTrain, images);
  std::vector<Tensor> batches;
  calibration.start(0);
  while (const auto batch = calibration.next()) batches.push_back(batch->images);

  const Graph graph(*network);
  std::printf("%s: f32 %.2f %%\n", weights.c_str(), top1(*network, test));
  std::fflush(stdout);
  for (const char* const range : {"minmax", "ema", "percentile", "mse"}) {
    CalibrationOptions options{.range = range};
    options.observer.decay = 0.9;
    if (options.range == "mse") options.weight_range = "mse";
    const auto start = std::chrono::steady_clock::now();
    const Quantization q = calibrate(*network, graph, batches, options);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const std::unique_ptr<Network> twin = fake_quantized(*network, graph, q);
    std::printf("%-10s  %.2f %%   %zu layers, %zu values rounded, calibrated in %.1f s\n", range,
                top1(*twin, test), q.layers.size(), q.places.size(), seconds);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace vtrain

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "int8_accuracy: expected a weights file, a data set and its folder\n");
    return 2;
  }
  try {
    return vtrain::run(argv[1], argv[2], argv[3], argc > 4 ? std::atoll(argv[4]) : 512);
  } catch (const vtrain::Error& error) {
    std::fprintf(stderr, "int8_accuracy: %s\n", error.what());
    return 1;
  }
}
