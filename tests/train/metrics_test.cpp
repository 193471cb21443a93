#include "train/metrics.h"

#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

TEST_CASE("metrics.csv: numbers are in their shortest form that reads back, text is quoted") {
  const TemporaryFolder folder;
  const fs::path file = folder / "metrics.csv";
  EpochMetrics metrics(file, {"phase", "epoch", "loss", "top1_percent"});
  metrics.add({{"phase", "dense"}, {"epoch", int64_t{1}}, {"loss", 0.1}, {"top1_percent", 87.0}});
  metrics.add({{"loss", 1.0 / 3}, {"phase", "a \"b\", c"}, {"top1_percent", std::monostate{}}});
  metrics.add({{"loss", std::numeric_limits<double>::quiet_NaN()}, {"top1_percent", 1e-300}});
  CHECK(read_file(file) ==
        "phase,epoch,loss,top1_percent\n"
        "dense,1,0.1,87\n"
        "\"a \"\"b\"\", c\",,0.3333333333333333,\n"
        ",,nan,1e-300\n");
}

TEST_CASE("csv: cells are quoted only where commas, quotes or line ends ask for it") {
  CHECK(csv_of({{"name", "n"}, {"a, b", "1"}, {"\"c\"", ""}}) ==
        "name,n\n\"a, b\",1\n\"\"\"c\"\"\",\n");
  CHECK(csv_of({}).empty());
}

TEST_CASE("metrics.csv: a name that is no column is an error") {
  const TemporaryFolder folder;
  EpochMetrics metrics(folder / "metrics.csv", {"loss"});
  CHECK_THROWS_WITH_AS(metrics.add({{"los", 1.0}}), "[metrics.csv] no column los", Error);
}

TEST_CASE("metrics.csv: after a resume it ends in the bytes of a run that was not interrupted") {
  const TemporaryFolder folder;
  const std::vector<std::string> columns = {"epoch", "loss"};
  const auto row = [](int64_t epoch) {
    return Metrics{{"epoch", epoch}, {"loss", 1.0 / static_cast<double>(epoch)}};
  };
  EpochMetrics whole(folder / "whole.csv", columns);
  for (const int64_t epoch : {1, 2, 3}) whole.add(row(epoch));

  const fs::path file = folder / "resumed.csv";
  std::string checkpoint;
  {
    EpochMetrics killed(file, columns);
    killed.add(row(1));
    checkpoint = killed.text();
    killed.add({{"epoch", int64_t{2}}, {"loss", 99.0}});  // after the checkpoint: will be lost
  }
  EpochMetrics resumed(file, columns);
  resumed.restore(checkpoint);
  CHECK(read_file(file) == checkpoint);
  for (const int64_t epoch : {2, 3}) resumed.add(row(epoch));
  CHECK(read_file(file) == read_file(folder / "whole.csv"));
  CHECK(resumed.text() == whole.text());
}

TEST_CASE("metrics.csv: text of other columns is refused, and the file stays") {
  const TemporaryFolder folder;
  const fs::path file = folder / "metrics.csv";
  EpochMetrics metrics(file, {"epoch", "loss"});
  metrics.add({{"epoch", int64_t{1}}});
  const std::string before = read_file(file);
  CHECK_THROWS_WITH_AS(metrics.restore("epoch,top1\n1,2\n"),
                       "metrics.csv: expected columns epoch,loss, got epoch,top1", CheckpointError);
  CHECK(read_file(file) == before);
}

TEST_CASE("metrics.jsonl: each row is an object that begins with its step; NaN becomes null") {
  const TemporaryFolder folder;
  const fs::path file = folder / "metrics.jsonl";
  StepMetrics metrics(file);
  metrics.add(50, {{"phase", "dense"}, {"loss", 0.25}, {"epoch", int64_t{1}}});
  metrics.add(100, {{"loss", std::numeric_limits<double>::quiet_NaN()}});
  CHECK(read_file(file) ==
        "{\"step\":50,\"phase\":\"dense\",\"loss\":0.25,\"epoch\":1}\n"
        "{\"step\":100,\"loss\":null}\n");
}

TEST_CASE("metrics.jsonl: on resume, rows from the resumed step on and a torn row are dropped") {
  const TemporaryFolder folder;
  const fs::path file = folder / "metrics.jsonl";
  {
    StepMetrics metrics(file);
    for (const int64_t step : {50, 100, 150}) metrics.add(step, {{"loss", 1.0}});
  }
  AppendFile(file).append("{\"step\":2");  // the process died here; 2 < 100, yet no row
  StepMetrics metrics(file);
  metrics.drop_from(100);
  metrics.add(100, {{"loss", 2.0}});
  CHECK(read_file(file) == "{\"step\":50,\"loss\":1.0}\n{\"step\":100,\"loss\":2.0}\n");
}

}  // namespace
}  // namespace vtrain
