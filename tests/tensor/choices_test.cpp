#include "tensor/choices.h"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

TEST_CASE("choices: without measuring the first implementation runs, and nothing is remembered") {
  Choices choices;
  int runs = 0;
  CHECK(choices.pick("conv", 3, [&](int) { ++runs; }) == 0);
  CHECK(runs == 0);
  CHECK(choices.table().empty());
}

TEST_CASE("choices: while measuring the fastest wins, once, and is kept when measuring ends") {
  Choices choices;
  choices.set_measuring(true);
  std::vector<int> runs(3);
  const auto run = [&](int i) {
    ++runs[static_cast<size_t>(i)];
    std::this_thread::sleep_for(std::chrono::milliseconds(i == 1 ? 1 : 20));
  };
  CHECK(choices.pick("conv", 3, run) == 1);
  CHECK(runs[0] > 1);
  CHECK(runs[0] == runs[2]);
  const std::vector<int> before = runs;
  CHECK(choices.pick("conv", 3, run) == 1);
  choices.set_measuring(false);
  CHECK(choices.pick("conv", 3, run) == 1);
  CHECK(runs == before);
  CHECK(choices.pick("another", 3, run) == 0);
}

TEST_CASE("choices: a table comes back from its file, and only for the chip it was made on") {
  const TemporaryFolder folder;
  const std::string path = folder / "choices.txt";
  const Choices::Table table{{"conv2d 1x2 f32, 2 threads", 1}, {"matmul\"x\"", 0}};
  CHECK(Choices::read(path, "chip a").empty());
  Choices::write(path, "chip a", table);
  CHECK(Choices::read(path, "chip a") == table);
  CHECK_THROWS_WITH_AS(Choices::read(path, "chip b"),
                       doctest::Contains("expected measured choices of chip b, got chip a"), Error);
  put_file(path, "chip a\nnonsense\n");
  CHECK_THROWS_WITH_AS(Choices::read(path, "chip a"), doctest::Contains("got nonsense"), Error);
}

TEST_CASE("choices: an entry beyond the implementations there are is measured anew") {
  Choices choices;
  choices.add({{"conv", 5}});
  CHECK(choices.pick("conv", 2, [](int) {}) == 0);
}

}  // namespace
}  // namespace vtrain
