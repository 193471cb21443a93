// `use: best` keeps the weights of the best epoch, of those in which the network was what the
// methods were asked for.
#include <doctest/doctest.h>

#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

ProcessResult run_best(const std::string& recipe, const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  std::vector<std::string> arguments = {VTRAIN_SOURCE_DIR "/recipes/" + recipe,
                                        "data.name=synthetic",
                                        "data.limit=200",
                                        "data.batch_size=16",
                                        "data.val=0.2",
                                        "phases.dense.train.epochs=1",
                                        "+use=best",
                                        "threads=1",
                                        "amp=off",
                                        "--quiet",
                                        "out.dir=" + folder.path()};
  arguments.insert(arguments.end(), overrides.begin(), overrides.end());
  return run_vtrain(arguments);
}

// The loss of so few steps is chance, and so would be the best epoch: with a learning rate of next
// to nothing all epochs are equal, and the first of those that may be kept is.
TEST_CASE("use best: epochs before the last round of pruning are not kept") {
  const ProcessResult result =
      run_best("lenet300_magnitude.yaml",
               {"phases.pruned.train.epochs=4", "phases.pruned.optim.lr=1e-9",
                "phases.pruned.compress.magnitude={rate: 0.9, rounds: 3, retrain_epochs: 1, "
                "first_layer: prune}"});
  CHECK_MESSAGE(result.exit_code == 0, result.errors);
  CHECK(result.output.find("pruned: zeros: 90.00 % of") != std::string::npos);
}

TEST_CASE(
    "use best: a network that was cut in the middle of a phase keeps the best behind the cut") {
  const ProcessResult result =
      run_best("vgg28_ssl.yaml", {"phases.sparse.train.epochs=3", "phases.sparse.optim.lr=0.05",
                                  "phases.pruned.train.epochs=1",
                                  "phases.sparse.compress.ssl={lambda_filters: 60, until: 0.4}"});
  CHECK_MESSAGE(result.exit_code == 0, result.errors);
  CHECK(result.output.find("sparse: filters: ") != std::string::npos);
  CHECK(result.output.find("sparse: filters: 0 of") == std::string::npos);
}

TEST_CASE("use best: filters that go layer by layer keep the best behind the last cut") {
  const ProcessResult result = run_best(
      "vgg28_l1_filters.yaml", {"phases.pruned.train.epochs=3", "phases.pruned.optim.lr=1e-9",
                                "phases.pruned.compress.l1_filters={rate: 0.5, order: iterative, "
                                "layers: [features.0, features.4]}"});
  CHECK_MESSAGE(result.exit_code == 0, result.errors);
  CHECK(result.output.find("pruned: filters: 24 of 48 cut") != std::string::npos);
}

}  // namespace
}  // namespace vtrain
