// Exports every registered network, with random weights, and compares it with a runtime:
// docs/results/onnx.md.
//
//     cmake -S . -B build -DVTRAIN_BENCH=ON && ninja -C build onnx_zoo
//     PYTHON=<one with onnxruntime> build/onnx_zoo [IMAGES [NAME...]]
//
// A row of a table a network: nodes, file size, largest relative difference of the outputs on
// IMAGES (10) images of noise, images of the same class, seconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "compress/deploy/onnx.h"
#include "nn/models/model.h"
#include "tensor/ops/binary.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

/// Statistics and scales near those of a trained network: with 0 and 1 a mistake would not show.
void disturb(Network& network) {
  for (Parameter p : network.parameters()) {
    const auto near = [&](double value) {
      const Random random(5, "", p.path());
      p.set(add(multiply(random.normal(p.value().shape(), {}), 0.1), value));
    };
    if (p.path().ends_with(".running_mean")) near(0);
    if (p.path().ends_with(".running_var")) near(1);
    if (p.path().ends_with(".weight") && p.value().ndim() == 1) near(1);
  }
}

void compare(const ModelInfo& model, int64_t count, const std::string& folder) {
  const auto start = std::chrono::steady_clock::now();
  const ModelOptions& o = model.usual;
  Network network({.model = model.name, .options = o, .parts = {}});
  network.initialise(1);
  disturb(network);
  const Tensor images =
      Random(2, "", "images").normal({count, o.channels, o.image_size, o.image_size}, {});
  const std::string path = folder + "/zoo.onnx";
  const OnnxReport r = export_onnx(network, path, images);
  std::filesystem::remove(path);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("| `%s` | %lld | %.1f | %.1e | %lld of %lld | %.1f |\n", model.name.c_str(),
              static_cast<long long>(r.nodes), static_cast<double>(r.bytes) / (1 << 20),
              r.difference, static_cast<long long>(r.same_class), static_cast<long long>(r.images),
              seconds.count());
  std::fflush(stdout);
  if (r.runtime.empty()) throw Error("not run: " + r.why_not, ExitCode::kEnvironment);
}

int run(int argc, char** argv) {
  const int64_t count = argc > 1 ? std::stoll(argv[1]) : 10;
  const std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  std::printf(
      "| network | nodes | MiB | difference | same class | seconds |\n|---|---|---|---|---|---|\n");
  const std::string folder = std::filesystem::temp_directory_path();
  for (const ModelInfo& model : registered_models()) {
    if (names.empty() || std::ranges::find(names, model.name) != names.end())
      compare(model, count, folder);
  }
  return 0;
}

}  // namespace
}  // namespace vtrain

int main(int argc, char** argv) {
  try {
    return vtrain::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "onnx_zoo: %s\n", error.what());
    return 1;
  }
}
