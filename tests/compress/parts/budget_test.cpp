#include "compress/parts/budget.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "tests/cutting.h"

namespace vtrain {
namespace {

Network made(const std::string& model, int64_t channels = 3, int64_t image_size = 32) {
  return Network({.model = model,
                  .options = {.num_classes = 10, .channels = channels, .image_size = image_size},
                  .parts = {}});
}

/// Scores that rise with the channel, in every group that `wanted` takes.
template <class Wanted>
std::vector<std::vector<double>> rising(const CutGroups& groups, const Wanted& wanted) {
  std::vector<std::vector<double>> scores(groups.groups().size());
  for (size_t g = 0; g < scores.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    if (!wanted(group)) continue;
    for (int64_t c = 0; c < group.size(); ++c)
      scores[g].push_back(static_cast<double>(c) / static_cast<double>(group.size()));
  }
  return scores;
}
const auto kAll = [](const CutGroup&) { return true; };
const auto kInner = [](const CutGroup& group) { return !group.is_residual; };

double share(const CutGroups& groups, const Cut& cut) {
  return static_cast<double>(groups.macs(cut)) / static_cast<double>(groups.macs(groups.nothing()));
}

TEST_CASE("budget: half of the multiply-adds is met within 1 %, and never exceeded") {
  struct Case {
    std::string model;
    int64_t channels, image_size;
  };
  std::vector<Case> cases{{"resnet56", 3, 32},
                          {"resnet50_cifar", 3, 32},
                          {"mobilenet_v2", 3, 64},
                          {"vgg16_bn_cifar", 3, 32},
                          {"deit_small_patch16_224", 3, 224}};
  if (is_full()) {
    for (const char* const model : {"resnet50", "mobilenet_v2", "vgg16_bn"})
      cases.push_back({model, 3, 224});
  }
  for (const Case& c : cases) {
    CAPTURE(c.model);
    Network network = made(c.model, c.channels, c.image_size);
    const CutGroups groups(network);
    for (const BudgetMode mode : {BudgetMode::kUniform, BudgetMode::kGlobal}) {
      const Cut cut = solve_budget(groups, rising(groups, kAll), {.macs = 0.5}, {.mode = mode});
      CHECK(share(groups, cut) <= 0.5);
      CHECK(share(groups, cut) >= 0.49);
    }
  }
}

TEST_CASE("budget: only scored groups are cut, lowest scores first") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  const Cut cut = solve_budget(groups, rising(groups, kInner), {.macs = 0.6}, {});
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    CAPTURE(group.name);
    CHECK(cut[g].empty() == group.is_residual);
    for (size_t i = 0; i < cut[g].size(); ++i) CHECK(cut[g][i] == static_cast<int64_t>(i));
    if (!group.is_residual) {  // uniform: shares differ by less than two channels of the narrowest
      const double gone = static_cast<double>(cut[g].size()) / static_cast<double>(group.size());
      CHECK(gone == doctest::Approx(0.4).epsilon(0.3));
    }
  }
}

TEST_CASE("budget: a global order takes from where scores are low") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  auto scores = rising(groups, kInner);
  for (size_t g = 0; g < scores.size(); ++g) {
    const bool is_first_stage = groups.groups()[g].name.starts_with("layer1");
    for (double& s : scores[g]) s += is_first_stage ? 0 : 10;
  }
  const Cut cut = solve_budget(groups, scores, {.macs = 0.8}, {.mode = BudgetMode::kGlobal});
  for (size_t g = 0; g < cut.size(); ++g) {
    if (!groups.groups()[g].name.starts_with("layer1")) CHECK(cut[g].empty());
  }
  CHECK(share(groups, cut) <= 0.8);
}

TEST_CASE("budget: kept counts are multiples where asked, rounded up, and still within it") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  for (const int64_t multiple : {4, 8}) {
    const Cut cut = solve_budget(groups, rising(groups, kAll), {.macs = 0.5, .params = 0.9},
                                 {.round_to = multiple});
    CHECK(share(groups, cut) <= 0.5);
    for (size_t g = 0; g < cut.size(); ++g)
      CHECK((groups.groups()[g].size() - static_cast<int64_t>(cut[g].size())) % multiple == 0);
  }
}

TEST_CASE("budget: the fastest multiple is measured; of equal ones the largest keeps most") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  const auto scores = rising(groups, kInner);
  int64_t inner = 0;
  for (const CutGroup& group : groups.groups()) inner += group.is_residual ? 0 : 1;
  REQUIRE(inner > 0);
  // A machine that computes `lanes` channels at a time: what is no multiple costs a whole one.
  const auto machine = [&](int64_t lanes) {
    return [&groups, lanes](const Cut& cut) {
      double time = 0;
      for (size_t g = 0; g < cut.size(); ++g) {
        const int64_t kept = groups.groups()[g].size() - static_cast<int64_t>(cut[g].size());
        time += static_cast<double>((kept + lanes - 1) / lanes) + (kept % lanes == 0 ? 0 : 2);
      }
      return time;
    };
  };
  // Halves of 16, 32 and 64 channels are 8, 16 and 32.
  CHECK(fastest_multiple(groups, scores, machine(1)) == 8);
  CHECK(fastest_multiple(groups, scores, machine(16)) == 16);
  CHECK(fastest_multiple(groups, scores, [](const Cut&) { return 1.0; }) == 32);
}

TEST_CASE("budget: a floor and a largest rate hold in every group") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  const Cut floored = solve_budget(groups, rising(groups, kInner), {.macs = 0.55},
                                   {.mode = BudgetMode::kGlobal, .min_keep = 6});
  const Cut capped = solve_budget(groups, rising(groups, kInner), {.macs = 0.55},
                                  {.mode = BudgetMode::kGlobal, .max_rate = 0.5});
  for (size_t g = 0; g < floored.size(); ++g) {
    const int64_t size = groups.groups()[g].size();
    CHECK(size - static_cast<int64_t>(floored[g].size()) >= 6);
    CHECK(2 * static_cast<int64_t>(capped[g].size()) <= size);
  }
}

TEST_CASE("budget: what cannot be reached ends in exit code 5 with the nearest figure") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  try {
    solve_budget(groups, rising(groups, kInner), {.macs = 0.001}, {});
    FAIL("expected an error");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kBudget);
    CAPTURE(error.what());
    CHECK(std::string(error.what()).starts_with("budget: macs 0.001 asked, 0.0"));
  }
  // Everything may go but one channel of each group.
  const Cut least = lowest_scores(groups, rising(groups, kAll), 1, {});
  for (size_t g = 0; g < least.size(); ++g)
    CHECK(groups.groups()[g].size() - static_cast<int64_t>(least[g].size()) == 1);
}

TEST_CASE("budget: a time is met by what the given measure says") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  // A machine that needs a millisecond for a million multiply-adds.
  const auto latency = [&](const Cut& cut) { return static_cast<double>(groups.macs(cut)) / 1e6; };
  const Cut cut = solve_budget(groups, rising(groups, kAll), {.latency_ms = 20}, {}, latency);
  CHECK(latency(cut) <= 20);
  CHECK(latency(cut) > 18);
}

TEST_CASE("budget: rates round down, against what doubles make of them") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  const auto scores = rising(groups, kAll);
  const Cut cut = lowest_scores(groups, scores, 1 - 0.9, {});  // 0.0999..: of 10 one goes
  for (size_t g = 0; g < cut.size(); ++g) CHECK(cut[g].size() == scores[g].size() / 10);
}

TEST_CASE("budget: scores that do not fit, or are not finite, are refused") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  auto scores = rising(groups, kAll);
  scores[0].pop_back();
  CHECK_THROWS_WITH_AS(solve_budget(groups, scores, {.macs = 0.5}, {}), doctest::Contains("scores"),
                       Error);
  scores = rising(groups, kAll);
  scores[2][1] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(solve_budget(groups, scores, {.macs = 0.5}, {}),
                       doctest::Contains("not finite"), Error);
  CHECK_THROWS_AS(solve_budget(groups, {}, {.macs = 0.5}, {}), Error);
}

}  // namespace
}  // namespace vtrain
