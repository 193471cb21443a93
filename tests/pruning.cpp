#include "tests/pruning.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>

#include "tests/fake_device.h"
#include "tests/process.h"

namespace vtrain {

TestPhase pruning_phase(const std::string& compress, std::vector<std::string> overrides,
                        const std::string& model) {
  for (const char* const phase : {"dense", "sparse"})
    overrides.push_back(str("phases.", phase, ".model.name=", model));
  return TestPhase(compress, std::move(overrides));
}

void finish_epoch(TestPhase& phase) {
  phase.steps(static_cast<int>(phase->steps_per_epoch() - phase->step_in_epoch));
  ++phase->epoch;
  phase->step_in_epoch = 0;
}

std::map<std::string, std::vector<double>> values_of(TestPhase& phase) {
  std::map<std::string, std::vector<double>> values;
  for (const auto& [name, tensor] : phase->network().state()) values[name] = tensor.to_vector();
  return values;
}

std::vector<double> values_of(TestPhase& phase, const std::string& parameter) {
  return phase->network().parameter(parameter).value().to_vector();
}

int64_t zeros_in(const std::vector<double>& values) {
  return std::count(values.begin(), values.end(), 0.0);
}

void check_killed_is_whole(const std::string& recipe, const std::vector<std::string>& overrides,
                           const std::vector<int64_t>& kill_at, const std::string& phase) {
  const TemporaryFolder folder;
  const auto arguments = [&](const std::string& out) {
    std::vector<std::string> all = {recipe,
                                    "data.name=synthetic",
                                    "data.limit=80",
                                    "data.batch_size=16",
                                    "data.val=0.2",
                                    "phases.dense.train.epochs=1",
                                    "phases." + phase + ".train.epochs=3",
                                    "ckpt.every_steps=1",
                                    "threads=2",
                                    "--quiet",
                                    "--resume",
                                    "out.dir=" + (folder / out)};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return all;
  };
  const ProcessResult whole = run_vtrain(arguments("whole"));
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.errors);
  for (const int64_t step : kill_at) {
    const ProcessResult killed = run_vtrain_until(
        arguments("killed"), [&] { return newest_step(folder / "killed") >= step; }, SIGKILL);
    CHECK(killed.exit_code == 128 + SIGKILL);
  }
  const ProcessResult resumed = run_vtrain(arguments("killed"));
  REQUIRE_MESSAGE(resumed.exit_code == 0, resumed.errors);
  for (const std::string& file : {phase + ".safetensors", std::string("metrics.csv")})
    CHECK(file_content((only_run(folder / "whole") / file).string()) ==
          file_content((only_run(folder / "killed") / file).string()));
}

void check_same_on_fake_device(const std::string& compress,
                               const std::vector<std::string>& overrides) {
  std::map<std::string, std::vector<double>> here;
  for (const Device device : {Device{}, fake_device()}) {
    std::vector<std::string> all = overrides;
    all.push_back("+device=" + device.text());
    TestPhase phase = pruning_phase(compress, all);
    phase->start();
    finish_epoch(phase);
    phase.steps(1);
    phase->finish();
    CHECK(phase->network().device() == device);
    if (device == Device{}) {
      here = values_of(phase);
    } else {
      CHECK(values_of(phase) == here);
    }
  }
}

}  // namespace vtrain
