// What a user can get wrong ends in one clear line on standard error and the documented exit code.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

const std::string kRecipe = std::string(VTRAIN_SOURCE_DIR) + "/tests/train/tiny.yaml";

/// One line, the exit code, and the text that must be in it.
void check_refused(const std::vector<std::string>& arguments, int exit_code,
                   const std::string& text, const ProcessOptions& options = {}) {
  const ProcessResult result = run_vtrain(arguments, options);
  CAPTURE(result.errors);
  CHECK(result.exit_code == exit_code);
  CHECK(result.errors.find(text) != std::string::npos);
  CHECK(std::count(result.errors.begin(), result.errors.end(), '\n') == 1);
}

TEST_CASE("bad input: a misspelt key is named with its place and the nearest key, exit 2") {
  check_refused({"check", kRecipe, "phases.sparse.compress.dynamicvit.keep_ration=0.5"}, 2,
                "command line: phases.sparse.compress.dynamicvit.keep_ration: unknown key; did you "
                "mean keep_ratio?");
}

TEST_CASE("bad input: a value out of range is named with what was expected, exit 2") {
  check_refused(
      {"check", kRecipe, "phases.sparse.compress.dynamicvit.keep_ratio=1.3"}, 2,
      "phases.sparse.compress.dynamicvit.keep_ratio: expected a number in (0, 1], got 1.3");
  check_refused({"check", kRecipe, "phases.sparse.compress.dynamicvit.keep_ratio=0"}, 2,
                "expected a number in (0, 1], got 0");
}

TEST_CASE("bad input: an unknown model, method, optimizer, phase or verb is named, exit 2") {
  check_refused({"check", kRecipe, "model.name=deit_micr_patch4_28"}, 2,
                "unknown model deit_micr_patch4_28; did you mean deit_micro_patch4_28?");
  check_refused({"check", kRecipe, "+phases.sparse.compress.dynamicvitt={}"}, 2,
                "unknown method; did you mean dynamicvit?");
  check_refused({"check", kRecipe, "optim.name=adamv"}, 2, "adamw");
  check_refused({"check", kRecipe, "phases.sparse.from=dens"}, 2,
                "phases.sparse.from: expected an earlier phase, got dens");
  check_refused({"chekc", kRecipe}, 2, "chekc");
}

TEST_CASE("bad input: a recipe that is not there, or not YAML, is named, exit 2") {
  check_refused({"/nonexistent/x.yaml"}, 2, "/nonexistent/x.yaml");
  const TemporaryFolder folder;
  put_file(folder / "broken.yaml", "model: {name: deit_micro_patch4_28\n");
  check_refused({folder / "broken.yaml"}, 2, "broken.yaml:");
}

TEST_CASE(
    "bad input: a method that does not fit the network is refused before anything is written, exit "
    "2") {
  const TemporaryFolder folder;
  const std::string out = "out.dir=" + (folder / "runs");
  check_refused({kRecipe, out, "phases.sparse.compress.dynamicvit.at=[1, 6]"}, 2,
                "deit_micro_patch4_28 has no block 6");
  check_refused({kRecipe, out, "phases.sparse.compress.dynamicvit.at=[3, 1]"}, 2,
                "expected increasing block numbers");
  check_refused({kRecipe, out, "phases.sparse.compress.dynamicvit.keep_ratio=0.01"}, 2,
                "would leave no token of 49 at stage 1");
  check_refused({kRecipe, out, "phases.sparse.compress.dynamicvit.counts=[10, 20]"}, 2,
                "stage 2 cannot keep 20 of 10 tokens");
  check_refused({kRecipe, out, "phases.sparse.compress.dynamicvit.teacher=nobody"}, 2,
                "expected an earlier phase, a weights file, or self, got nobody");
  CHECK_FALSE(std::filesystem::exists(folder / "runs"));
}

TEST_CASE("bad input: missing data is named with how to get it, exit 3") {
  check_refused({"check", kRecipe, "data.name=fashion_mnist", "data.root=/nonexistent"}, 3,
                "/nonexistent");
}

TEST_CASE("bad input: a damaged image is named, exit 3; data.max_bad skips it with a warning") {
  const TemporaryFolder folder;
  const std::string image = "P5\n28 28\n255\n" + std::string(784, 'x');
  for (const std::string split : {"train", "test"}) {
    for (const std::string kind : {"cat", "dog"}) {
      std::filesystem::create_directories(folder / (split + "/" + kind));
      for (char n = 'a'; n < 'i'; ++n) {
        put_file(folder / (split + "/" + kind + "/" + n + ".pgm"),
                 split + kind + n == "traindogc" ? image.substr(0, 99) : image);
      }
    }
  }
  std::vector<std::string> arguments = {
      kRecipe, "out.dir=" + (folder / "runs"),
      "data={name: image_folder, batch_size: 8, root: " + folder.path() + "}",
      "phases={dense: {train: {epochs: 1}}}", "~pair"};
  arguments.insert(arguments.end(), {"--quiet"});
  check_refused(
      arguments, 3,
      "dog/c.pgm: is truncated: expected at least 797 bytes, got 99; data.max_bad allows 0");
  arguments.emplace_back("+data.max_bad=1");
  arguments.erase(std::ranges::find(arguments, "--quiet"));
  const ProcessResult result = run_vtrain(arguments);
  CAPTURE(result.errors);
  CHECK(result.exit_code == 0);
  const std::string line = "warning: skipped " + (folder / "train/dog/c.pgm: is truncated");
  CHECK((result.output + result.errors).find(line) != std::string::npos);
  check_refused({"check", kRecipe, "data={name: tar_folder, root: " + folder.path() + "}"}, 3,
                "train.tar: cannot read: No such file or directory; tar_folder reads");
  std::filesystem::remove_all(folder / "test/dog");
  check_refused({"check", kRecipe, "data={name: image_folder, root: " + folder.path() + "}"}, 3,
                "the test split has other classes than the training split: it has 1, not 2");
}

TEST_CASE("bad input: a truncated .gz is named, exit 3") {
  const std::string real = "/usr/share/datasets/fashion-mnist/";
  if (!std::filesystem::exists(real)) {
    MESSAGE("skipped: dataset-fashion-mnist is not installed");
    return;
  }
  const TemporaryFolder folder;
  for (const char* const file : {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                 "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}) {
    std::string bytes = file_content(real + file);
    if (std::string(file) == "train-images-idx3-ubyte.gz") bytes.resize(bytes.size() / 2);
    put_file(folder / file, bytes);
  }
  check_refused({"check", kRecipe, "data.name=fashion_mnist", "data.root=" + folder.path()}, 3,
                "train-images-idx3-ubyte.gz");
}

TEST_CASE("bad input: a full disk ends in exit 8 and leaves the earlier checkpoint readable") {
  const TemporaryFolder folder;
  const std::string out = "out.dir=" + (folder / "runs");
  // A checkpoint takes some megabytes: the first write over the limit fails, as on a full disk.
  check_refused({kRecipe, "--quiet", out}, 8, "step-6", {.file_size_limit = 1 << 20});
  const ProcessResult resumed = run_vtrain({kRecipe, "--quiet", "--resume", out});
  CHECK_MESSAGE(resumed.exit_code == 0, resumed.errors);
}

TEST_CASE(
    "bad input: weights with a flipped bit, of another program, or missing are named, exit 7") {
  const TemporaryFolder folder;
  put_file(folder / "x.safetensors", "not a weights file at all");
  check_refused({"eval", folder / "x.safetensors"}, 7, "x.safetensors");
  check_refused({"eval", folder / "y.safetensors"}, 7, "y.safetensors");
}

TEST_CASE(
    "bad input: training that leaves the finite numbers stops with exit 4 and names step and "
    "terms") {
  const TemporaryFolder folder;
  check_refused({kRecipe, "--quiet", "out.dir=" + (folder / "runs"), "optim.lr=1e30"}, 4,
                "is not finite");
}

TEST_CASE("bad input: a device that is not there is named, exit 8") {
  check_refused({"check", kRecipe, "--device", "cuda"}, 8, "cuda");
}

}  // namespace
}  // namespace vtrain
