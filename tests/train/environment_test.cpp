#include "train/environment.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tensor/cpu_level.h"
#include "tensor/onednn.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

TEST_CASE("environment: the chip's name stands in /proc/cpuinfo") {
  std::ifstream in("/proc/cpuinfo");
  std::stringstream text;
  text << in.rdbuf();
  const std::string chip = chip_name();
  REQUIRE_FALSE(chip.empty());
  CHECK(chip.front() != ' ');
  if (chip != "unknown") CHECK(text.str().find(": " + chip + "\n") != std::string::npos);
}

TEST_CASE("environment: env.json says what bits may depend on, as it is in this process") {
  const auto environment = nlohmann::json::parse(environment_json());
  CHECK(environment.at("chip") == chip_name());
  CHECK(environment.at("threads") == num_threads());
  CHECK(environment.at("cpu_level") == name_of(cpu_level()));
  CHECK(environment.at("onednn") == onednn::version());
  for (const char* key : {"vtrain", "compiler", "kernel"}) {
    CAPTURE(key);
    CHECK_FALSE(environment.at(key).get<std::string>().empty());
  }
}

TEST_CASE("environment: the flags listed are those the compiler's own CPUID test finds") {
  const auto environment = nlohmann::json::parse(environment_json());
  const auto flags = environment.at("cpu_flags").get<std::set<std::string>>();
  CHECK(flags.count("avx2") == (__builtin_cpu_supports("avx2") ? 1 : 0));
  CHECK(flags.count("avx512f") == (__builtin_cpu_supports("avx512f") ? 1 : 0));
  CHECK(flags.count("avx512_vnni") == (__builtin_cpu_supports("avx512vnni") ? 1 : 0));
}

TEST_CASE("environment: a changed number of threads is seen") {
  const int before = num_threads();
  set_num_threads(before + 1);
  const auto environment = nlohmann::json::parse(environment_json());
  set_num_threads(before);
  CHECK(environment.at("threads") == before + 1);
}

}  // namespace
}  // namespace vtrain
