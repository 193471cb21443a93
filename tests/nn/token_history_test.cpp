#include "nn/token_history.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "autograd/shape.h"
#include "nn/module_registry.h"
#include "nn/pass.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

constexpr int64_t kPatches = 49;

/// The network of deit_micro that `method` leaves, read from its file.
std::unique_ptr<Network> finished(const std::string& method) {
  TestPhase phase("{" + method + "}");
  phase->finish();
  phase->network().save(phase.folder() / "sparse.safetensors");
  return Network::load(phase.folder() / "sparse.safetensors");
}

std::unique_ptr<Network> untouched() {
  auto network = std::make_unique<Network>(
      Architecture{.model = "deit_micro_patch4_28",
                   .options = {.num_classes = 10, .channels = 1, .image_size = 28},
                   .parts = {}});
  network->initialise(1);
  return network;
}

Tensor noise_images(int64_t samples) {
  return Random(2, "", "images").normal({samples, 1, 28, 28}, {}).channels_last();
}

/// Tokens left behind each block, after a check that every patch is in one of them or dropped, and
/// that every one of them has a patch.
std::vector<int64_t> counts_of(const TokenHistory& history) {
  CHECK(history.side == 7);
  CHECK(history.patch_size == 4);
  std::vector<int64_t> counts;
  for (const TokensBehind& b : history.behind) {
    CHECK(b.block == static_cast<int64_t>(counts.size()));
    counts.push_back(b.tokens);
    for (int64_t n = 0; n < b.dest.dim(0); ++n) {
      const std::vector<double> dest = b.dest.select(0, n).to_vector();
      REQUIRE(dest.size() == kPatches);
      for (int64_t row = 0; row < b.tokens; ++row)
        CHECK(std::ranges::count(dest, static_cast<double>(row)) >= 1);
      CHECK(std::ranges::max(dest) < static_cast<double>(b.tokens));
      CHECK(std::ranges::min(dest) >= -1);
    }
  }
  return counts;
}

int64_t dropped_of(const TokensBehind& behind) {
  return std::ranges::count(behind.dest.to_vector(), -1.0);
}

using Counts = std::vector<int64_t>;
const std::string kDynamicVit = "dynamicvit: {at: [1, 3], counts: [20, 9], teacher: dense}";

TEST_CASE("token history: dynamicvit drops to the counts of its plan") {
  const auto network = finished(kDynamicVit);
  const TokenHistory history = token_history(*network, noise_images(3));
  CHECK(counts_of(history) == Counts{49, 20, 20, 9, 9, 9});
  CHECK(dropped_of(history.behind[0]) == 0);
  CHECK(dropped_of(history.behind[1]) == 3 * (49 - 20));
  CHECK(dropped_of(history.behind[5]) == 3 * (49 - 9));
  CHECK(network->hooks().empty());
}

// `score` goes along with a gather by code of its own: here it carries each token's first row.
TEST_CASE("token history: dynamicvit's tokens are where the map says") {
  const auto network = finished(kDynamicVit);
  network->hooks().wrap_tokens(
      "blocks.0",
      {Slot::kStructure, "test", [](const Tokens& t, const InnerTokens& inner, const Pass&) {
         std::vector<double> rows;
         for (int64_t i = 0; i < 3 * t.length(); ++i)
           rows.push_back(static_cast<double>(i % t.length()));
         Tokens u = t;
         u.score = Variable(from_values({3, t.length()}, rows));
         return inner(u);
       }});
  std::vector<Tensor> first_rows;
  for (int i = 0; i < 6; ++i) {
    network->hooks().wrap_tokens(
        str("blocks.", i, ".after_attention"),
        {Slot::kStructure, "test", [&](const Tokens& t, const InnerTokens& inner, const Pass&) {
           first_rows.push_back(t.score.value());
           return inner(t);
         }});
  }
  const TokenHistory history = token_history(*network, noise_images(3));
  REQUIRE(first_rows.size() == 6);
  for (size_t i = 0; i < 6; ++i) {
    const TokensBehind& b = history.behind[i];
    for (int64_t n = 0; n < 3; ++n) {
      std::vector<double> expected(kPatches, -1);
      const std::vector<double> rows = first_rows[i].select(0, n).to_vector();
      for (size_t token = 1; token < rows.size(); ++token)
        expected[static_cast<size_t>(rows[token]) - 1] = static_cast<double>(token - 1);
      CHECK(b.dest.select(0, n).to_vector() == expected);
    }
  }
}

TEST_CASE("token history: tome drops no patch, and a token's size is how many it holds") {
  const auto network = finished("tome: {r: 6}");
  Tensor sizes;
  network->hooks().wrap_tokens(
      "blocks.5",
      {Slot::kStructure, "test", [&](const Tokens& t, const InnerTokens& inner, const Pass&) {
         Tokens u = inner(t);
         sizes = u.sizes.value();
         return u;
       }});
  const TokenHistory history = token_history(*network, noise_images(3));
  CHECK(counts_of(history) == Counts{43, 37, 31, 25, 19, 13});
  for (const TokensBehind& b : history.behind) CHECK(dropped_of(b) == 0);
  for (int64_t n = 0; n < 3; ++n) {
    const std::vector<double> dest = history.behind[5].dest.select(0, n).to_vector(),
                              held = sizes.select(0, n).to_vector();
    REQUIRE(held.size() == 14);
    for (size_t token = 0; token < 13; ++token)
      CHECK(static_cast<double>(std::ranges::count(dest, static_cast<double>(token))) ==
            held[token + 1]);
  }
}

TEST_CASE("token history: a part in front of the first block is seen, its hook is refused") {
  const std::string at_0 = "dynamicvit: {at: [0], counts: [30], teacher: dense}";
  const auto network = finished(at_0);
  CHECK(counts_of(token_history(*network, noise_images(2))) == Counts{30, 30, 30, 30, 30, 30});
  TestPhase phase("{" + at_0 + "}");
  CHECK_THROWS_WITH_AS(token_history(phase->network(), noise_images(2)),
                       "blocks.0: expected the tokens of all 49 patches, got 30", Error);
  TestPhase later("{" + kDynamicVit + "}");
  CHECK(counts_of(token_history(later->network(), noise_images(2))) == Counts{49, 20, 20, 9, 9, 9});
}

TEST_CASE("token history: a part behind a block counts to that block") {
  const auto network = untouched();
  for (const int block : {2, 5}) {
    network->set_part(
        str("blocks.", block, ".out"),
        make_module("tome_merge", {{"r", 4}, {"block", block}, {"metric", 3}, {"prop_attn", 1}}));
  }
  CHECK(counts_of(token_history(*network, noise_images(2))) == Counts{49, 49, 45, 45, 45, 41});
}

TEST_CASE("token history: looking changes no bit of the logits and leaves nothing behind") {
  const auto network = finished("tome: {r: [0, 9, 0, 5]}");
  const Tensor images = noise_images(2), before = network->logits(images);
  CHECK(counts_of(token_history(*network, images)) == Counts{49, 40, 40, 35, 35, 35});
  CHECK(network->hooks().empty());
  CHECK(network->logits(images).to_vector() == before.to_vector());
}

TEST_CASE("token history: a special token more shifts nothing") {
  Network network({.model = "deit_tiny_distilled_patch16_224",
                   .options = {.num_classes = 4, .channels = 3, .image_size = 32},
                   .parts = {}});
  network.initialise(1);
  const TokenHistory history =
      token_history(network, Random(2, "", "x").normal({1, 3, 32, 32}, {}).channels_last());
  CHECK(history.side == 2);
  CHECK(history.behind.size() == 12);
  CHECK(history.behind.back().dest.to_vector() == std::vector<double>{0, 1, 2, 3});
}

TEST_CASE("token history: tokens that wait while others travel are not dropped") {
  const auto network = untouched();
  const auto hang = [&](int block, WrapTokensFn apply) {
    network->hooks().wrap_tokens(str("blocks.", block),
                                 {Slot::kStructure, "test", std::move(apply)});
  };
  hang(1, [](const Tokens& t, const InnerTokens& inner, const Pass&) {
    return inner(split(t, Variable(from_values({1, 4}, {0, 5, 17, 49}, DType::i32))));
  });
  hang(3,
       [](const Tokens& t, const InnerTokens& inner, const Pass&) { return inner(put_back(t)); });
  const TokenHistory history = token_history(*network, noise_images(1));
  CHECK(counts_of(history) == Counts{49, 49, 49, 49, 49, 49});
  for (const TokensBehind& b : history.behind) CHECK(dropped_of(b) == 0);
}

TEST_CASE("token history: what changes tokens and does not say how is named by its block") {
  const auto network = untouched();
  const auto refused = [&](const std::function<Variable(const Variable&)>& change,
                           const std::string& tokens) {
    network->hooks().wrap_tokens(
        "blocks.2",
        {Slot::kStructure, "test", [&](const Tokens& t, const InnerTokens& inner, const Pass&) {
           Tokens u = t;
           u.x = change(t.x);
           return inner(u);
         }});
    CHECK_THROWS_WITH_AS(token_history(*network, noise_images(1)),
                         ("blocks.2: has " + tokens +
                          " patch tokens, and the patches are in others: what changed them did not "
                          "say where they went (Tokens::dest)")
                             .c_str(),
                         Error);
    network->hooks().remove_owner("test");
    CHECK(network->hooks().empty());  // its own went although it threw
  };
  refused([](const Variable& x) { return slice(x, 1, 0, 21); }, "20");
  refused([](const Variable& x) { return concat({x, slice(x, 1, 7, 8)}, 1); }, "50");
}

TEST_CASE("token history: a network without blocks of tokens is refused by name") {
  Network network({.model = "resnet8_28",
                   .options = {.num_classes = 10, .channels = 1, .image_size = 28},
                   .parts = {}});
  CHECK_THROWS_WITH_AS(
      token_history(network, noise_images(1)),
      "resnet8_28: expected a vision transformer: this network has no blocks of tokens",
      RecipeError);
}

}  // namespace
}  // namespace vtrain
