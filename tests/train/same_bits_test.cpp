// Results follow from recipe, seed, threads, chip and library alone: two runs, and runs with other
// numbers of loader workers, write the same bytes at every instruction level this machine has.
#include <doctest/doctest.h>

#include <filesystem>

#include "tensor/cpu_level.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

const std::string kRoot = VTRAIN_SOURCE_DIR;

struct Job {
  std::string name, weights;
  std::vector<std::string> arguments;
};

const std::vector<Job>& jobs() {
  static const std::vector<Job> all = {
      {"transformer",
       "sparse.safetensors",
       {kRoot + "/tests/train/tiny.yaml", "phases.dense.train.epochs=1",
        "phases.sparse.train.epochs=1"}},
      {"convolutions",
       "train.safetensors",
       {kRoot + "/recipes/resnet20.yaml", "model.name=mobilenet_v2_28", "data.name=synthetic",
        "data.limit=40", "data.batch_size=8", "train.epochs=1", "sched.warmup_epochs=0",
        "log.tensorboard=false", "threads=2"}}};
  return all;
}

/// The bytes of the weights and of the metrics that a run writes.
std::string bytes_of_run(const Job& job, const std::string& level, const std::string& workers) {
  const TemporaryFolder folder;
  std::vector<std::string> arguments = job.arguments;
  arguments.push_back("out.dir=" + folder.path());
  arguments.push_back("data.workers=" + workers);
  arguments.emplace_back("--quiet");
  const ProcessResult run = run_vtrain(arguments, {.environment = {"VTRAIN_CPU_LEVEL=" + level}});
  REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (entry.is_symlink()) continue;
    return file_content((entry.path() / job.weights).string()) +
           file_content((entry.path() / "metrics.csv").string());
  }
  return {};
}

TEST_CASE("same bits: three runs, with 1, 2 and 4 workers, at every instruction level") {
  int levels = 0;
  for (const CpuLevel level : {CpuLevel::kBaseline, CpuLevel::kAvx2, CpuLevel::kAvx512,
                               CpuLevel::kAvx512Bf16, CpuLevel::kAmx}) {
    const std::string name(name_of(level));
    if (level > highest_cpu_level()) {
      MESSAGE("level " << name << " is untested: this CPU lacks it");
      continue;
    }
    ++levels;
    CAPTURE(name);
    for (const Job& job : jobs()) {
      CAPTURE(job.name);
      const std::string expected = bytes_of_run(job, name, "1");
      CHECK(expected.size() > 10000);
      for (const std::string workers : {"2", "4"}) {
        CAPTURE(workers);
        CHECK(bytes_of_run(job, name, workers) == expected);
      }
    }
  }
  CHECK(levels >= 1);
}

}  // namespace
}  // namespace vtrain
