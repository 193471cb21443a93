// Methods together: every ordered pair of registered methods, in one phase and one after the other,
// on a tiny network. What is legal trains, resumes, finishes and exports; what is not is refused
// before training with the reason. tests/composition.h says what is checked of a run.
//
// A new method registers TinyKnobs in its own test and needs nothing here: a refusal counts as one
// if it is by the rules for slots and for the task loss and names both methods. Combinations of
// three and more that shall be tried are listed in kCombinations.
#include "tests/composition.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string>

#include "compress/registry.h"
#include "train/phase.h"

namespace vtrain {
namespace {

/// The rules by which two methods are refused in one phase.
bool is_refusal(const std::string& said, const std::string& a, const std::string& b) {
  const std::string pair = std::min(a, b) + " and " + std::max(a, b),
                    reversed = std::max(a, b) + " and " + std::min(a, b);
  const bool names_both = said.find(pair) != std::string::npos ||
                          said.find(reversed) != std::string::npos ||
                          (said.find(a + " masks ") != std::string::npos &&
                           said.find("and " + b + ", which") != std::string::npos) ||
                          (said.find(b + " masks ") != std::string::npos &&
                           said.find("and " + a + ", which") != std::string::npos);
  const bool is_by_rule =
      said.find(" slot; only one of them can act there") != std::string::npos ||
      said.find(" both want to replace the task loss; only one of them can") != std::string::npos ||
      said.find(", which has no code for 0, would bring its weights back") != std::string::npos;
  return names_both && is_by_rule;
}

struct Refusal {
  const char *first, *second, *reason;
};

/// Refused in one phase by a rule of the first method's own.
const Refusal kRefusals[] = {
    {"fitnets", "tome", "does another method of the phase change how many tokens there are?"},
};

/// The first leaves a network that the second cannot start from, which a dry run cannot see.
const Refusal kRefusalsInTurn[] = {
    {"dynamicvit", "dynamicvit", "expected a network that keeps its 16 patch tokens to the end"},
    {"tome", "dynamicvit", "expected a network that keeps its 16 patch tokens to the end"},
    {"tome", "tome", "has a part of an earlier phase"},
    {"tome", "fitnets", "none: expected equal shapes"},
};

/// nullptr: nobody says that the two do not fit.
const Refusal* find(std::span<const Refusal> refusals, const std::string& a, const std::string& b) {
  const auto found = std::ranges::find_if(
      refusals, [&](const Refusal& r) { return a == r.first && b == r.second; });
  return found == refusals.end() ? nullptr : &*found;
}

/// What was thrown, so that the next pair is tried too.
template <class Run>
std::string refusal_by(const Run& run) {
  try {
    run();
    return "";
  } catch (const RecipeError& refused) {
    return refused.what();
  } catch (const std::exception& error) {
    return str("no refusal, but an error: ", error.what());
  }
}

/// Those that have something to do on such a network.
std::vector<std::string> methods_for(TinyModel model) {
  std::vector<std::string> names;
  for (const MethodInfo& info : registered_methods()) {
    if (knobs_of(info.name, model)) names.push_back(info.name);
  }
  return names;
}

void check_alone(TinyModel model) {
  for (const std::string& method : methods_for(model)) {
    CAPTURE(method);
    REQUIRE(refusal_of({{method}}, model) == "");
    check_plan({{method}}, model);
  }
}

void check_pairs_in_one_phase(TinyModel model) {
  const std::vector<std::string> names = methods_for(model);
  for (const std::string& a : names) {
    for (const std::string& b : names) {
      if (a >= b) continue;  // the other order is trained below
      CAPTURE(a);
      CAPTURE(b);
      const std::string said = refusal_by([&] { dry_run_of({{a, b}}, model); });
      CAPTURE(said);
      CHECK(said == refusal_by([&] { dry_run_of({{b, a}}, model); }));
      if (const Refusal* const own = find(kRefusals, a, b)) {
        CHECK(said.find(own->reason) != std::string::npos);
      } else if (!said.empty()) {
        CHECK(is_refusal(said, a, b));
      } else {
        CHECK(refusal_by([&] {
                CHECK(check_plan({{a, b}}, model) == train_plan({{b, a}}, model));
              }) == "");
      }
    }
  }
}

void check_pairs_in_turn(TinyModel model) {
  const std::vector<std::string> names = methods_for(model);
  for (const std::string& a : names) {
    for (const std::string& b : names) {
      const MethodPlan plan = {{a}, {b}};
      CAPTURE(text_of(plan));
      CHECK(refusal_of(plan, model) == "");
      const std::string said = refusal_by([&] { check_plan(plan, model); });
      CAPTURE(said);
      if (const Refusal* const wanted = find(kRefusalsInTurn, a, b)) {
        CHECK(said.find(wanted->reason) != std::string::npos);
      } else {
        CHECK(said == "");
      }
    }
  }
}

TEST_CASE("composition: every method works alone") {
  check_alone(TinyModel::kCnn);
  check_alone(TinyModel::kVit);
}

TEST_CASE(
    "composition: every pair of methods works in one phase of a convolutional network, or is "
    "refused with the reason; the order in the recipe does not matter") {
  check_pairs_in_one_phase(TinyModel::kCnn);
}

TEST_CASE(
    "composition: every pair of methods works in one phase of a transformer, or is refused with "
    "the reason; the order in the recipe does not matter") {
  check_pairs_in_one_phase(TinyModel::kVit);
}

TEST_CASE("composition: every method works behind every other on a convolutional network") {
  check_pairs_in_turn(TinyModel::kCnn);
}

TEST_CASE("composition: every method works behind every other on a transformer") {
  check_pairs_in_turn(TinyModel::kVit);
}

TEST_CASE("composition: three and four methods work together, in one phase and in turn") {
  for (const auto& [model, plan] : combinations()) {
    CAPTURE(text_of(plan));
    REQUIRE(refusal_of(plan, model) == "");
    check_plan(plan, model);
  }
}

TEST_CASE("composition: a method that has nothing to do on a network refuses it, naming both") {
  for (const TinyModel model : {TinyModel::kCnn, TinyModel::kVit}) {
    for (const MethodInfo& info : registered_methods()) {
      if (knobs_of(info.name, model)) continue;
      const std::string said = refusal_of({{info.name}}, model);
      CAPTURE(said);
      CHECK(said.find("phases.phase1.compress." + info.name) != std::string::npos);
      CHECK(said.find("got " + name_of(model)) != std::string::npos);
    }
  }
}

TEST_CASE("composition: two in one slot, or two that replace the task loss, are refused as such") {
  for (const auto& [first, second, reason] : std::initializer_list<Refusal>{
           {"dns", "magnitude", "dns and magnitude both want the mask slot"},
           {"magnitude", "sfp", "sfp and magnitude both want the mask slot"},
           {"example", "dns", "dns and example both want the mask slot"},
           {"kd", "takd", "methods kd and takd both want to replace the task loss"},
           {"kd", "fitnets", "methods fitnets and kd both want to replace the task loss"}}) {
    CAPTURE(first);
    CAPTURE(second);
    for (const MethodPlan& plan : {MethodPlan{{first, second}}, MethodPlan{{second, first}}})
      CHECK(refusal_of(plan, TinyModel::kCnn).find(reason) != std::string::npos);
  }
}

TEST_CASE("composition: the order in which methods act is printed, structure before masks") {
  const std::vector<std::string> lines =
      dry_run_of({{"kd", "magnitude", "l1_filters"}}, TinyModel::kCnn);
  CHECK(std::ranges::count(lines,
                           "methods, as they act: l1_filters (dense-smaller), magnitude "
                           "(file-only), kd (training-only)") == 1);
  CHECK(std::ranges::count(lines, "  mask: magnitude at features.4.weight") == 1);
}

TEST_CASE("composition: a run says in which order methods act, and what they leave together") {
  const std::string said = output_of({{"magnitude", "l1_filters"}, {"kd"}}, TinyModel::kCnn);
  CHECK(said.find("methods, as they act: l1_filters (dense-smaller), magnitude (file-only)\n"
                  "  mask: magnitude at classifier.weight and 2 more\n") != std::string::npos);
  CHECK(said.find("methods, as they act: kd (training-only)\n") != std::string::npos);
  // The report's last column. What distillation only trained is as small as it was.
  const std::string kind = "  dense-smaller + file-only\n";
  const size_t first = said.find(kind);
  REQUIRE(first != std::string::npos);
  CHECK(said.find(kind, first + 1) != std::string::npos);
}

TEST_CASE("composition: a method without knobs for these tests is asked for by name") {
  CHECK_THROWS_WITH_AS(knobs_of("brand_new", TinyModel::kCnn),
                       "methods are tried with each other: add a TinyKnobs line "
                       "(tests/composition.h) for brand_new to its test",
                       Error);
}

}  // namespace
}  // namespace vtrain
