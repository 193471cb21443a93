// Killed = uninterrupted: a run that was killed and resumed ends in the same bytes.
#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <set>

#include "tests/process.h"
#include "tests/temporary_folder.h"
#include "train/checkpoint.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;
const std::string kRecipe = std::string(VTRAIN_SOURCE_DIR) + "/tests/train/tiny.yaml";
// 48 training images, 6 updates an epoch, 3 epochs a phase.
constexpr int64_t kStepsPerPhase = 18;

void check_same_result(const fs::path& expected, const fs::path& run) {
  for (const char* const file : {"dense.safetensors", "sparse.safetensors", "metrics.csv"}) {
    CAPTURE(file);
    REQUIRE(fs::exists(expected / file));
    REQUIRE(fs::exists(run / file));
    CHECK(file_content((expected / file).string()) == file_content((run / file).string()));
  }
}

TEST_CASE(
    "resume: a run killed at random moments of each phase ends in the bytes of one that was not, "
    "for 1, 2 and 4 workers") {
  const TemporaryFolder folder;
  const std::vector<std::string> common{kRecipe, "ckpt.every_steps=1", "--quiet"};
  const auto with_out = [&](const std::string& out, const std::string& workers) {
    std::vector<std::string> arguments = common;
    arguments.push_back("out.dir=" + (folder / out));
    arguments.push_back("data.workers=" + workers);
    return arguments;
  };
  const ProcessResult whole = run_vtrain(with_out("whole", "1"));
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.errors);
  const fs::path expected = only_run(folder / "whole");

  std::mt19937 random(20261125);
  for (const std::string workers : {"1", "2", "4"}) {
    CAPTURE(workers);
    const std::string out = "killed" + workers;
    std::set<int64_t> kill_after;  // two moments of each phase in each of three rounds
    while (kill_after.size() < 2)
      kill_after.insert(static_cast<int64_t>(random() % (kStepsPerPhase - 1)));
    while (kill_after.size() < 4)
      kill_after.insert(kStepsPerPhase + static_cast<int64_t>(random() % (kStepsPerPhase - 1)));
    std::vector<std::string> arguments = with_out(out, workers);
    arguments.emplace_back("--resume");
    for (const int64_t step : kill_after) {
      const ProcessResult killed = run_vtrain_until(
          arguments, [&] { return newest_step(folder / out) >= step; }, SIGKILL);
      CHECK(killed.exit_code == 128 + SIGKILL);
    }
    const ProcessResult resumed = run_vtrain(arguments);
    REQUIRE_MESSAGE(resumed.exit_code == 0, resumed.errors);
    check_same_result(expected, only_run(folder / out));
  }
}

TEST_CASE("resume: a run in bf16 that was killed in each phase ends in the same bytes") {
  const TemporaryFolder folder;
  const auto arguments = [&](const std::string& out) {
    return std::vector<std::string>{kRecipe,    "ckpt.every_steps=1", "--quiet",
                                    "--resume", "amp=bf16",           "out.dir=" + (folder / out)};
  };
  const ProcessResult whole = run_vtrain(arguments("whole"));
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.errors);
  for (const int64_t step : {int64_t{7}, kStepsPerPhase + 4}) {
    const ProcessResult killed = run_vtrain_until(
        arguments("killed"), [&] { return newest_step(folder / "killed") >= step; }, SIGKILL);
    CHECK(killed.exit_code == 128 + SIGKILL);
  }
  const ProcessResult resumed = run_vtrain(arguments("killed"));
  REQUIRE_MESSAGE(resumed.exit_code == 0, resumed.errors);
  check_same_result(only_run(folder / "whole"), only_run(folder / "killed"));
  const std::string result = file_content((only_run(folder / "killed") / "result.json").string());
  CHECK(result.find("\"amp\":\"bf16\"") != std::string::npos);
}

TEST_CASE(
    "resume: SIGINT finishes the step, saves, exits 130, and the resumed run ends in the same "
    "bytes") {
  const TemporaryFolder folder;
  const auto arguments = [&](const std::string& out) {
    return std::vector<std::string>{kRecipe, "--quiet", "--resume", "out.dir=" + (folder / out)};
  };
  REQUIRE(run_vtrain(arguments("whole")).exit_code == 0);
  const ProcessResult stopped = run_vtrain_until(
      arguments("stopped"), [&] { return newest_step(folder / "stopped") >= 6; }, SIGINT);
  CHECK(stopped.exit_code == 130);
  REQUIRE(run_vtrain(arguments("stopped")).exit_code == 0);
  check_same_result(only_run(folder / "whole"), only_run(folder / "stopped"));
}

TEST_CASE(
    "resume: a checkpoint with a flipped bit falls back to the one before, with a warning; with "
    "none left it is exit 7") {
  const TemporaryFolder folder;
  const std::vector<std::string> arguments{kRecipe, "--resume", "out.dir=" + (folder / "out")};
  REQUIRE(run_vtrain_until(
              arguments, [&] { return newest_step(folder / "out") >= 12; }, SIGKILL)
              .exit_code == 128 + SIGKILL);
  const Checkpoints checkpoints(only_run(folder / "out") / "ckpt", 2);
  const auto flip_bit = [](const fs::path& file) {
    std::string bytes = file_content(file.string());
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
    put_file(file.string(), bytes);
  };
  REQUIRE(checkpoints.files().size() == 2);
  flip_bit(checkpoints.files()[0]);
  std::vector<std::string> warned;
  const auto [file, content] =
      checkpoints.newest([&](const std::string& line) { warned.push_back(line); });
  CHECK(file == checkpoints.files()[1]);
  REQUIRE(warned.size() == 1);
  CHECK(warned[0].find("falling back") != std::string::npos);

  flip_bit(checkpoints.files()[1]);
  const ProcessResult refused = run_vtrain(arguments);
  CHECK(refused.exit_code == 7);
  CHECK(refused.errors.find("no readable checkpoint") != std::string::npos);
}

}  // namespace
}  // namespace vtrain
