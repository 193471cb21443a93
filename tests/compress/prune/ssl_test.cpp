// Structured sparsity learning, arXiv:1608.03665: identities, one test per knob, resume, misuse.
// The penalty itself: tests/compress/parts/group_lasso_test.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/edit.h"
#include "nn/graph.h"
#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("ssl", "{lambda_filters: 4, lambda_channels: 4, until: 0.5}",
                           std::nullopt);

TestPhase ssl(const std::string& knobs, std::vector<std::string> overrides = {},
              const std::string& model = "vgg_bn_28") {
  return pruning_phase("{ssl: {" + knobs + "}}", std::move(overrides), model);
}

int64_t rows(TestPhase& phase, const std::string& weight) {
  return phase->network().parameter(weight).value().dim(0);
}

/// Sum of the l2 norms of a weight's rows.
double row_norms_of(TestPhase& phase, const std::string& weight) {
  const Tensor w = phase->network().parameter(weight).value();
  double sum = 0;
  for (int64_t i = 0; i < w.dim(0); ++i) {
    double squares = 0;
    for (const double x : w.slice(0, i, i + 1).to_vector()) squares += x * x;
    sum += std::sqrt(squares);
  }
  return sum;
}

void fill_rows(TestPhase& phase, const std::string& parameter, int64_t row, double value) {
  Tensor w = phase->network().parameter(parameter).value();
  w.slice(0, row, row + 1).fill(value);
}

/// One filter of features.4 with bias and norm as small as this. Its shift is below 0, so that no
/// gradient comes through the ReLU and the penalty alone moves it.
void make_tiny(TestPhase& phase, int64_t row, double value) {
  for (const char* const p : {"features.4.weight", "features.4.bias", "features.5.weight"})
    fill_rows(phase, p, row, value);
  fill_rows(phase, "features.5.bias", row, -value);
}

TEST_CASE("ssl: lambda 0 is plain training, byte for byte") {
  for (const char* const solver : {"proximal", "subgradient, zero_eps: 0"}) {
    TestPhase plain = pruning_phase("{}"),
              none = ssl(str("lambda_filters: 0, lambda_channels: 0, solver: ", solver));
    for (TestPhase* const phase : {&plain, &none}) {
      (*phase)->start();
      finish_epoch(*phase);
      finish_epoch(*phase);
      (*phase)->finish();
    }
    CHECK(values_of(plain) == values_of(none));
  }
}

TEST_CASE("ssl: one proximal step shortens a filter by lr lambda") {
  TestPhase plain = pruning_phase("{}"),
            lasso = ssl("lambda_filters: 0.5, lambda_channels: 0, with_norm: false");
  for (TestPhase* const phase : {&plain, &lasso}) {
    (*phase)->start();
    phase->steps(1);
  }
  for (const char* const layer : {"features.0", "features.4", "features.8", "features.11"}) {
    const std::string weight = str(layer, ".weight");
    const auto filters = static_cast<double>(rows(plain, weight));
    CHECK(row_norms_of(plain, weight) - row_norms_of(lasso, weight) ==
          doctest::Approx(0.01 * 0.5 * filters).epsilon(1e-3));  // lr 0.01; f32 differences
  }
  CHECK(values_of(plain, "classifier.weight") == values_of(lasso, "classifier.weight"));
}

TEST_CASE("ssl: a subgradient step moves weights alike, to first order") {
  TestPhase plain = pruning_phase("{}"),
            lasso =
                ssl("lambda_filters: 0.5, lambda_channels: 0, with_norm: false, solver: "
                    "subgradient, zero_eps: 0");
  for (TestPhase* const phase : {&plain, &lasso}) {
    (*phase)->start();
    phase->steps(1);
  }
  CHECK(row_norms_of(plain, "features.8.weight") - row_norms_of(lasso, "features.8.weight") ==
        doctest::Approx(0.01 * 0.5 * 64).epsilon(0.02));
}

TEST_CASE("ssl: channels take the columns that read a filter, the classifier's too") {
  TestPhase plain = pruning_phase("{}"), lasso = ssl("lambda_filters: 0, lambda_channels: 0.5");
  for (TestPhase* const phase : {&plain, &lasso}) {
    (*phase)->start();
    phase->steps(1);
  }
  CHECK(values_of(plain, "features.0.weight") == values_of(lasso, "features.0.weight"));
  CHECK(values_of(plain, "classifier.weight") != values_of(lasso, "classifier.weight"));
  CHECK(row_norms_of(lasso, "features.4.weight") < row_norms_of(plain, "features.4.weight"));
}

TEST_CASE("ssl: zero filters are cut when the penalty ends, and the logits stay") {
  TestPhase phase = ssl("lambda_filters: 0.01, lambda_channels: 0, until: 0.5",
                        {"phases.sparse.ema.decay=0.9", "phases.sparse.optim.momentum=0.9"});
  phase->start();
  make_tiny(phase, 3, 1e-9);
  make_tiny(phase, 20, 1e-9);
  phase.steps(static_cast<int>(phase->steps_per_epoch()) - 1);
  CHECK(rows(phase, "features.4.weight") == 32);
  finish_epoch(phase);
  CHECK(rows(phase, "features.4.weight") == 30);
  CHECK(phase->network().parameter("features.8.weight").value().dim(1) == 30);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
  const std::vector<double> before = values_of(phase, "features.8.weight");
  finish_epoch(phase);  // trains on without the penalty
  CHECK(values_of(phase, "features.8.weight") != before);
  phase->finish();
  CHECK(rows(phase, "features.4.weight") == 30);
  bool has_row = false;
  for (const auto& [row, text] : phase->state().report)
    has_row |= row == "filters" && text == "2 of 176 cut";
  CHECK(has_row);
}

TEST_CASE("ssl: filters that nobody reads are cut as well") {
  TestPhase phase = ssl("lambda_filters: 0, lambda_channels: 0.001, until: 0.5");
  phase->start();
  Tensor reader = phase->network().parameter("classifier.weight").value();
  reader.slice(1, 7, 8).fill(1e-9);
  // Without an input it would have a gradient still; nothing enters it either.
  fill_rows(phase, "features.12.weight", 7, 0);
  fill_rows(phase, "features.12.bias", 7, -1);
  finish_epoch(phase);
  CHECK(rows(phase, "features.11.weight") == 63);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("ssl: more lambda empties more filters") {
  int64_t last = -1;
  for (const double lambda : {0.0, 1.0, 5.0, 20.0}) {
    TestPhase phase = ssl(str("lambda_channels: 0, until: 1, lambda_filters: ", lambda),
                          {"phases.sparse.optim.lr=0.02"});
    phase->start();
    finish_epoch(phase);
    finish_epoch(phase);
    phase->finish();
    const int64_t gone = 176 - rows(phase, "features.0.weight") - rows(phase, "features.4.weight") -
                         rows(phase, "features.8.weight") - rows(phase, "features.11.weight");
    CHECK(gone >= last);
    last = gone;
  }
  CHECK(last > 20);
}

TEST_CASE("ssl: with_norm false leaves shifts, whose constants padding keeps in the network") {
  const auto left = [](bool has_norm) {
    TestPhase phase = ssl(str("lambda_filters: 0.01, lambda_channels: 0, until: 0.5, with_norm: ",
                              has_norm ? "true" : "false"));
    phase->start();
    make_tiny(phase, 3, 1e-9);
    if (!has_norm) fill_rows(phase, "features.5.bias", 3, 0.5);
    finish_epoch(phase);
    return rows(phase, "features.4.weight");
  };
  CHECK(left(true) == 31);
  CHECK(left(false) == 32);
}

TEST_CASE("ssl: zero_eps sets small weights of filters to 0, of solver subgradient") {
  const auto zeros = [](const std::string& eps) {
    TestPhase phase = ssl("lambda_filters: 0.001, solver: subgradient, zero_eps: " + eps);
    phase->start();
    phase.steps(1);
    return zeros_in(values_of(phase, "features.8.weight"));
  };
  CHECK(zeros("0") == 0);
  CHECK(zeros("0.01") > zeros("0.0001"));
}

TEST_CASE("ssl: size_weight sqrt penalises large filters more") {
  const auto norms = [](const std::string& knob) {
    TestPhase phase = ssl("lambda_filters: 0.1, lambda_channels: 0, with_norm: false, " + knob);
    phase->start();
    phase.steps(1);
    return row_norms_of(phase, "features.11.weight");
  };
  // 64 filters of 576 weights: 24 times the pull, 0.01 0.1 (24 - 1) 64.
  CHECK(norms("size_weight: none") - norms("size_weight: sqrt") ==
        doctest::Approx(1.472).epsilon(0.01));
}

TEST_CASE("ssl: layers, skip and streams choose the filters") {
  TestPhase some = ssl("layers: [features.4], lambda_filters: 0.5, lambda_channels: 0"),
            plain = pruning_phase("{}");
  for (TestPhase* const phase : {&some, &plain}) {
    (*phase)->start();
    phase->steps(1);
  }
  CHECK(values_of(some, "features.0.weight") == values_of(plain, "features.0.weight"));
  CHECK(values_of(some, "features.4.weight") != values_of(plain, "features.4.weight"));
  const auto stream = [](const std::string& knobs) {
    TestPhase phase = ssl("lambda_filters: 0.5, lambda_channels: 0" + knobs, {}, "resnet8_28");
    phase->start();
    phase.steps(1);
    return row_norms_of(phase, "conv1.weight");
  };
  CHECK(stream(", streams: coupled") < stream(""));
  CHECK(stream(", skip: [layer1*]") == stream(""));
}

TEST_CASE("ssl: the network gets smaller while the loss falls") {
  TestPhase phase = ssl("lambda_filters: 0.01, lambda_channels: 0.01, until: 0.67",
                        {"phases.sparse.optim.lr=0.05", "phases.sparse.train.epochs=3"});
  phase->start();
  for (int64_t row = 0; row < 8; ++row) make_tiny(phase, row, 1e-5);
  const int64_t macs = Graph(phase->network()).macs();
  phase.steps(1);
  const double first = phase.mean("loss");
  for (int epoch = 0; epoch < 3; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("loss") < first);
  phase->finish();
  CHECK(Graph(phase->network()).macs() < macs);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("ssl: a run that is killed before and behind its cut ends in the same bytes") {
  check_killed_is_whole(
      "recipes/vgg28_ssl.yaml",
      {"phases.sparse.optim.lr=0.02", "phases.pruned.train.epochs=1",
       "phases.sparse.compress.ssl={lambda_filters: 5, lambda_channels: 0, until: 0.5}"},
      {6, 13}, "sparse");
}

TEST_CASE("ssl: another device gives the bits of the CPU") {
  check_same_on_fake_device("{ssl: {lambda_filters: 5, until: 0.5}}");
}

TEST_CASE("ssl: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(TestPhase("{ssl: {}}"),
                       doctest::Contains("ssl: expected a convolutional network"), RecipeError);
  CHECK_THROWS_WITH_AS(ssl("layers: [x]"), doctest::Contains("x matches no layer"), RecipeError);
  CHECK_THROWS_WITH_AS(ssl("until: 0"), doctest::Contains("in (0, 1]"), RecipeError);
  CHECK_THROWS_WITH_AS(ssl("zero_eps: 0.1"),
                       doctest::Contains("has no effect with solver proximal"), RecipeError);
}

}  // namespace
}  // namespace vtrain
