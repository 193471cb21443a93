#include "train/run_folder.h"

#include <doctest/doctest.h>

#include <ctime>
#include <string>

#include "tensor/error.h"
#include "tests/temporary_folder.h"
#include "train/files.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

/// 2024-01-31, in local time, so that the names are the same in every time zone.
std::time_t at(int hour, int minute, int second) {
  std::tm local = {};
  local.tm_year = 2024 - 1900;
  local.tm_mday = 31;
  local.tm_hour = hour;
  local.tm_min = minute;
  local.tm_sec = second;
  local.tm_isdst = -1;
  return std::mktime(&local);
}

RunRecord record(const std::string& hash) {
  return {.recipe_yaml = "seed: 1\n",
          .command_line = "vtrain x.yaml\n",
          .environment_json = "{}\n",
          .recipe_hash = hash};
}

TEST_CASE("run folder: named by recipe and time, it holds the record, and last points to it") {
  const TemporaryFolder temporary;
  const fs::path runs = temporary / "deep/runs";
  const fs::path folder = create_run_folder(runs, "deit", record("abc"), at(9, 5, 7));
  CHECK(folder == runs / "deit-20240131-090507");
  CHECK(read_file(folder / "recipe.yaml") == "seed: 1\n");
  CHECK(read_file(folder / "cmdline.txt") == "vtrain x.yaml\n");
  CHECK(read_file(folder / "env.json") == "{}\n");
  CHECK(fs::read_symlink(runs / "last") == "deit-20240131-090507");
}

TEST_CASE("run folder: a second one of the same second gets a number and leaves the first alone") {
  const TemporaryFolder runs;
  const fs::path first = create_run_folder(runs.path(), "x", record("one"), at(9, 0, 0));
  const fs::path second = create_run_folder(runs.path(), "x", record("two"), at(9, 0, 0));
  const fs::path third = create_run_folder(runs.path(), "x", record("three"), at(9, 0, 0));
  CHECK(second.filename() == "x-20240131-090000-2");
  CHECK(third.filename() == "x-20240131-090000-3");
  CHECK(read_file(first / "recipe.hash") == "one");
  CHECK(fs::read_symlink(runs / "last") == third.filename());
}

TEST_CASE("run folder: resumed is the newest one of that name with an equal recipe") {
  const TemporaryFolder runs;
  const auto make = [&](const char* name, const char* hash, std::time_t when) {
    return create_run_folder(runs.path(), name, record(hash), when);
  };
  make("x", "same", at(9, 0, 0));
  for (int i = 2; i <= 10; ++i) make("x", "same", at(10, 0, 0));  // -2 ... -9: 9 < 10 as numbers
  const fs::path newest = make("x", "same", at(10, 0, 0));
  make("x", "other", at(11, 0, 0));
  make("x-y", "same", at(12, 0, 0));
  make("xx", "same", at(12, 0, 0));
  REQUIRE(newest.filename() == "x-20240131-100000-10");

  CHECK(find_resumable(runs.path(), "x", "same") == newest);
  CHECK(find_resumable(runs.path(), "x", "other")->filename() == "x-20240131-110000");
  CHECK_FALSE(find_resumable(runs.path(), "x", "new"));
  CHECK_FALSE(find_resumable(runs.path(), "y", "same"));
  CHECK_FALSE(find_resumable(runs / "nowhere", "x", "same"));
}

TEST_CASE("run folder: one whose making was cut short is not resumed") {
  const TemporaryFolder runs;
  const fs::path whole = create_run_folder(runs.path(), "x", record("same"), at(9, 0, 0));
  const fs::path cut = create_run_folder(runs.path(), "x", record("same"), at(10, 0, 0));
  fs::remove(cut / "recipe.hash");
  CHECK(find_resumable(runs.path(), "x", "same") == whole);
}

TEST_CASE("run folder: a place that cannot be written is named, with exit code 8") {
  const TemporaryFolder temporary;
  const fs::path file = temporary / "runs";
  put_file(file.string(), "");
  try {
    create_run_folder(file, "x", record("a"));
    FAIL("expected an IoError");
  } catch (const IoError& error) {
    CHECK(std::string(error.what()).starts_with(file.string() + ": "));
    CHECK(error.code() == ExitCode::kEnvironment);
  }
}

TEST_CASE("run folder: a name that is a path is refused") {
  const TemporaryFolder runs;
  CHECK_THROWS_WITH_AS(create_run_folder(runs.path(), "a/b", record("a")),
                       "out.name: expected a file name, got 'a/b'", RecipeError);
  CHECK_THROWS_AS(create_run_folder(runs.path(), "", record("a")), RecipeError);
}

}  // namespace
}  // namespace vtrain
