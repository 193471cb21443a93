// Knobs of methods are found by constructing them; pages and `vtrain docs` are made from these.
#include "compress/knobs.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

namespace vtrain {
namespace {

const Knob* find(const std::vector<Knob>& knobs, const std::string& address) {
  const auto found =
      std::ranges::find_if(knobs, [&](const Knob& knob) { return knob.key.address == address; });
  return found == knobs.end() ? nullptr : &*found;
}

TEST_CASE("knobs: name, default, range and help are those of the constructor") {
  const std::vector<Knob> knobs = knobs_of(*find_method("example"));
  REQUIRE(knobs.size() == 4);
  CHECK(knobs[0].key.address == "layers");
  CHECK(knobs[0].key.default_text == "[*]");
  CHECK(knobs[2].key.address == "first_layer");
  const Knob& rate = knobs[3];
  CHECK(rate.key.address == "rate");
  CHECK(rate.key.type == "number");
  CHECK(rate.key.default_text == "0.5");
  CHECK(rate.key.range == "in [0, 1]");
  CHECK(rate.key.help == "share of every layer's weights that becomes 0");
  CHECK(rate.only_with.empty());
}

TEST_CASE("knobs: what is required is said, and hides nothing that is read behind it") {
  const std::vector<Knob> knobs = knobs_of(*find_method("kd"));
  REQUIRE(find(knobs, "teacher") != nullptr);
  CHECK(find(knobs, "teacher")->key.default_text == "required");
  REQUIRE(find(knobs, "temperature") != nullptr);
  CHECK(find(knobs, "temperature")->key.default_text == "4");
  CHECK(find(knobs, "alpha") != nullptr);
}

TEST_CASE("knobs: one that is read for a single value of another says for which") {
  const std::vector<Knob> knobs = knobs_of(*find_method("fitnets"));
  REQUIRE(find(knobs, "feat_weight") != nullptr);
  CHECK(find(knobs, "feat_weight")->only_with == "mode: joint");
  REQUIRE(find(knobs, "hint_epochs") != nullptr);
  CHECK(find(knobs, "hint_epochs")->only_with.empty());  // of the default, two_stage
}

TEST_CASE("knobs: a section's keys have its name in front") {
  const std::vector<Knob> knobs = knobs_of(*find_method("l1_filters"));
  CHECK(find(knobs, "budget") != nullptr);
  REQUIRE(find(knobs, "budget.macs") != nullptr);  // read only if there is a budget
  CHECK(find(knobs, "budget.macs")->only_with.empty());
}

TEST_CASE("knobs: every knob of every method has a line of help") {
  for (const MethodInfo& method : registered_methods()) {
    for (const Knob& knob : knobs_of(method)) {
      CAPTURE(method.name);
      CAPTURE(knob.key.address);
      CHECK(!knob.key.help.empty());
    }
  }
}

TEST_CASE("knobs: every knob that a recipe of the tree sets is found") {
  for (const auto& entry : std::filesystem::directory_iterator(VTRAIN_SOURCE_DIR "/recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    Recipe recipe = Recipe::from_file(entry.path());
    Recipe phases = recipe.section("phases");
    for (const std::string& phase : phases.keys()) {
      Recipe compress = phases.section(phase).section("compress");
      for (const std::string& name : compress.keys()) {
        const MethodInfo* const method = find_method(name);
        REQUIRE(method != nullptr);
        const std::vector<Knob> knobs = knobs_of(*method);
        for (const std::string& key : compress.section(name).keys()) {
          CAPTURE(entry.path().string());
          CAPTURE(key);
          CHECK(find(knobs, key) != nullptr);
        }
      }
    }
  }
}

}  // namespace
}  // namespace vtrain
