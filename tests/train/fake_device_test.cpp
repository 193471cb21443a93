// Nothing above the kernels assumes the CPU: training runs on a second device whose memory the host
// cannot touch, and ends in the bytes of a run on the CPU.
#include "tests/fake_device.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <sstream>
#include <thread>

#include "recipes/recipe.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/unary.h"
#include "tensor/parallel.h"
#include "tests/temporary_folder.h"
#include "tests/train/test_phase.h"
#include "train/trainer.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

TEST_CASE(
    "fake device: tensors go there and back, kernels compute there, and freed memory returns") {
  const Device fake = fake_device();
  const int64_t blocks = fake_device_use().blocks;
  {
    const Tensor x = from_values({2, 3}, {1, 2, 3, 4, 5, 6}, DType::f32, fake);
    CHECK(x.device() == fake);
    CHECK(x.text() == "f32 (2, 3) on fake");
    const Tensor y = add(x, x.transpose(0, 1).reshape({2, 3}));
    CHECK(y.device() == fake);
    CHECK(y.to_vector() == std::vector<double>{2, 6, 5, 9, 8, 12});
    CHECK(y.slice(1, 1, 2).to(Device{}).to_vector() == std::vector<double>{6, 8});
    CHECK(x.to(DType::bf16).to(DType::f64).to_vector() == x.to_vector());
  }
  CHECK(fake_device_use().blocks == blocks);
}

TEST_CASE("fake device: memory that nobody wrote is NaN") {
  for (const double v : Tensor::empty({7}, DType::f32, fake_device()).to_vector()) CHECK(v != v);
}

TEST_CASE("fake device: a kernel refuses a tensor of another device") {
  const Tensor here = ones({2}), there = ones({2}, DType::f32, fake_device());
  CHECK_THROWS_WITH_AS(add(there, here), "device fake: a kernel got a tensor f32 (2) on cpu",
                       DeviceError);
}

TEST_CASE("fake device: what another thread wrote needs an order before it is used") {
  Tensor written;
  std::thread([&] { written = relu(ones({4}, DType::f32, fake_device())); }).join();
  CHECK_THROWS_WITH_AS(relu(written), doctest::Contains("nothing ordered the two"), DeviceError);
  CHECK(written.to_vector() == std::vector<double>(4, 1));  // waits
  CHECK(relu(written).to_vector() == std::vector<double>(4, 1));
}

TEST_CASE("fake device: a host that follows one of its addresses dies") {
  const Tensor there = ones({2}, DType::f32, fake_device());
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);  // not the test program's handler
    _exit(*there.data<float>() == 1 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
}

/// Runs a recipe in this process and returns its folder.
fs::path train_on(const std::string& device, const std::string& recipe_file, const fs::path& out,
                  std::vector<std::string> overrides) {
  overrides.push_back("device=" + device);
  overrides.push_back("out.dir=" + out.string());
  overrides.push_back("out.name=" + device);
  const Recipe recipe = Recipe::from_file(recipe_file, overrides);
  const Experiment experiment = read_experiment(recipe, "run");
  set_num_threads(experiment.threads);
  TrainOptions options;
  options.quiet = true;
  std::ostringstream lines;
  REQUIRE(train(experiment, options, lines) == ExitCode::kDone);
  for (const auto& entry : fs::directory_iterator(out)) {
    if (!entry.is_symlink() && entry.path().filename().string().starts_with(device))
      return entry.path();
  }
  return {};
}

void check_same_run(const fs::path& a, const fs::path& b, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    CAPTURE(file);
    REQUIRE(fs::exists(a / file));
    CHECK(file_content((a / file).string()) == file_content((b / file).string()));
  }
}

TEST_CASE(
    "fake device: the trainer, with EMA, augmentation, a teacher and DynamicViT, gives the bytes "
    "of the CPU") {
  const TemporaryFolder folder;
  const std::string recipe = std::string(VTRAIN_SOURCE_DIR) + "/tests/train/tiny.yaml";
  const fs::path there = train_on(fake_device().text(), recipe, folder.path(), {});
  const fs::path here = train_on("cpu", recipe, folder.path(), {});
  check_same_run(here, there, {"dense.safetensors", "sparse.safetensors", "metrics.csv"});
  CHECK(file_content((there / "result.json").string()).find("\"device\":\"fake\"") !=
        std::string::npos);
}

TEST_CASE(
    "fake device: a convolutional network with batch norm trains and validates there to the bits "
    "of "
    "the CPU") {
  std::map<std::string, std::vector<double>> expected;
  double expected_loss = 0;
  for (const Device device : {Device{}, fake_device()}) {
    TestPhase phase("{}", {"phases.dense.model.name=resnet20", "phases.sparse.model.name=resnet20",
                           "data.val=0.2", "+device=" + device.text()});
    phase.steps(3);
    CHECK(phase->network().device() == device);
    const double loss = phase->validate().loss;
    for (const auto& [name, tensor] : phase->network().state()) {
      CAPTURE(name);
      CHECK(tensor.device() == device);
      if (device == Device{}) {
        expected[name] = tensor.to_vector();
      } else {
        CHECK(tensor.to_vector() == expected[name]);
      }
    }
    if (device == Device{}) expected_loss = loss;
    CHECK(loss == expected_loss);
  }
}

}  // namespace
}  // namespace vtrain
