#include "compress/parts/rounding_report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/parts/fake_quantize.h"
#include "tensor/ops/indexing.h"
#include "tests/pruning.h"
#include "train/method_run.h"

namespace vtrain {
namespace {

using doctest::Approx;
using Rows = std::vector<std::vector<std::string>>;

TEST_CASE("rounding report: clipped is what rounds beyond the codes, zero what rounds to 0") {
  const CodeRange two_bits{.low = -2, .high = 1};
  // Codes -1, 0 (a tie), 1, 2, 16, -14: three lie beyond.
  const RoundingCounts all = rounding_counts(from_values({6}, {-0.3, 0.25, 0.26, 0.9, 8, -7}),
                                             from_values({1}, {0.5}), two_bits);
  CHECK(all.elements == 6);
  CHECK(all.clipped == 3);
  CHECK(all.zeros == 1);
  // Codes 1, 2 and 0, 1: one is clipped, and one is 0.
  const RoundingCounts rows =
      rounding_counts(from_values({2, 2}, {1, 2, 1, 3}), from_values({2}, {1, 4}), two_bits);
  CHECK(rows.clipped == 1);
  CHECK(rows.zeros == 1);
  // With 0 on code 2 of 0..3: codes -1, 2, 3, 4.
  const RoundingCounts askew =
      rounding_counts(from_values({4}, {-3, 0.4, 0.6, 2}), from_values({1}, {1}),
                      {.low = 0, .high = 3, .zero_point = 2});
  CHECK(askew.clipped == 2);
  CHECK(askew.zeros == 1);
}

/// A run of one method, "test", whose one layer is the last of resnet8_28 on four codes of scale 1,
/// and whose one value is the images.
struct ReportedRun {
  ReportedRun()
      : experiment(read_experiment(Recipe::from_text("model: {name: resnet8_28}\n"
                                                     "data: {name: synthetic}\n"
                                                     "optim: {name: sgd, lr: 0.1}\n",
                                                     "test"),
                                   "test")),
        state{.config = experiment.phases[0],
              .network = std::make_unique<Network>(
                  Architecture{.model = "resnet8_28", .options = {}, .parts = {}})},
        run(state, "test") {
    state.evaluation = [] { return Pass{}; };
    state.samples = [this](int64_t) {
      return std::vector<Batch>{{.images = images, .labels = {}, .targets = {}}};
    };
    for (const QuantLayer& layer : quant_targets(run.net(), {}, "test").layers) {
      if (layer.is_last) layers.push_back(layer);
    }
    report.attach(run, layers, [this](size_t i) { return codes_of(i); });
    run.transform_value("conv1.in", Slot::kQuantize, [this](const Variable& x, const Pass&) {
      if (report.is_watching()) report.watch(0, x.value(), value_type);
      return x;
    });
  }
  WeightCodes codes_of(size_t i) const {
    const Tensor w = layers[i].weight.value();
    const CodeRange range{.low = -2, .high = 1};
    return {.reals = w,
            .codes = quantize(w, ones({1}), range),
            .scales = {1},
            .bits = 2,
            .clipped = rounding_counts(w, ones({1}), range).clipped};
  }
  /// The first weights, all others 0.
  void set(std::vector<double> w) {
    w.resize(320);
    layers[0].weight.set(from_values({10, 32}, w));
  }
  double end_step(bool ends_epoch) {
    const Pass pass;
    const Batch batch;
    const Outputs outputs;
    StepState step{.pass = pass,
                   .batch = batch,
                   .outputs = outputs,
                   .ends_epoch = ends_epoch,
                   .task = {},
                   .terms = {}};
    state.logged.clear();
    Step view(run, step);
    report.after_update(view);
    return state.logged.empty() ? -1 : state.logged[0].second;
  }

  Experiment experiment;
  PhaseState state;
  MethodRun run;
  Tensor images = zeros({2, 1, 28, 28}).channels_last();
  QuantizedType value_type{.scale = 0.5F, .range = {.low = 0, .high = 3}};
  std::vector<QuantLayer> layers;
  RoundingReport report;
};

TEST_CASE("rounding report: an epoch changes the codes that are others at its end") {
  ReportedRun r;
  r.set({1, -3, 0.4, 2.5});
  r.report.start();
  r.set({0, -3, 0.4, 7, 1, 0.2});  // the first and the fifth
  CHECK(r.end_step(/*ends_epoch=*/false) == -1);
  CHECK(r.end_step(/*ends_epoch=*/true) == Approx(100.0 * 2 / 320));
  CHECK(r.end_step(/*ends_epoch=*/true) == 0);
  r.set({1, -3, 0.4, 7, 1, 0.2});
  CHECK(r.end_step(/*ends_epoch=*/true) == Approx(100.0 / 320));
  // A weight that is not a number has no code; the loss ends such a run.
  r.set({std::nan("")});
  CHECK(r.end_step(/*ends_epoch=*/true) == -1);
}

TEST_CASE("rounding report: a layer's and a value's row, worked by hand") {
  ReportedRun r;
  r.set({1, -3, 0.4, 2.5});  // codes 1, -2, 0, 1; the second and the fourth are clipped
  r.report.start();
  r.set({0, -3, 0.4, 2.5});
  r.end_step(/*ends_epoch=*/true);
  std::vector<double> x(2 * 784, 0.0);
  x[0] = 1.8;  // code 4 of 0..3
  x[1] = 0.9;
  x[900] = -1;  // code -2
  r.images = from_values({2, 1, 28, 28}, x).channels_last();
  r.report.write(r.run, {{.name = "images"}, {.name = "gone"}});
  CHECK(!r.report.is_watching());
  const Rows& table = r.state.tables.at("quant");
  REQUIRE(table.size() == 4);
  CHECK(table[0] == std::vector<std::string>{"method", "kind", "name", "bits", "min", "max",
                                             "scale_min", "scale_max", "clipped_percent",
                                             "zeros_percent", "changed_percent"});
  CHECK(table[1] == std::vector<std::string>{"test", "weight", "linear", "2", "-3", "2.5", "1", "1",
                                             "0.625", "99.375", "0.3125"});
  const std::vector<std::string>& value = table[2];
  CHECK(std::vector<std::string>(value.begin(), value.begin() + 5) ==
        std::vector<std::string>{"test", "value", "images", "2", "-1"});
  CHECK(std::stod(value[5]) == Approx(1.8));
  CHECK(value[6] == "0.5");
  CHECK(std::stod(value[8]) == Approx(100.0 * 2 / 1568));
  CHECK(std::stod(value[9]) == Approx(100.0 * 1565 / 1568));
  CHECK(value[10].empty());
  CHECK(table[3][2] == "gone");
  CHECK(table[3][3].empty());
  REQUIRE(r.state.report.size() == 1);
  CHECK(r.state.report[0].second ==
        "most clipped: linear 0.63 %; most zeros among weights: linear 99.38 %; codes that the "
        "last epoch changed: linear 0.31 %; of all layers: train.quant.csv");
}

TEST_CASE("rounding report: what an epoch began with is saved, resumed and cut with its weight") {
  ReportedRun r, resumed;
  r.set({1, -3, 0.4, 2.5});
  r.report.start();
  const auto buffer = [](ReportedRun& of) {
    return of.state.helpers.at("compress.test.codes")->parameters().at(0);
  };
  CHECK(buffer(r).is_buffer());
  CHECK(buffer(r).value().dtype() == DType::i8);
  r.set({0});
  CHECK(r.end_step(/*ends_epoch=*/true) == Approx(100.0 * 3 / 320));
  Archive saved = Archive::saving();
  r.report.state(saved);
  buffer(resumed).set(buffer(r).value());
  Archive loading = Archive::loading(saved.values());
  resumed.report.state(loading);
  for (ReportedRun* const each : {&r, &resumed}) {
    each->set({0});
    each->report.write(each->run);
    CHECK(each->state.tables.at("quant")[1].back() == "0.9375");
    each->set({1});
    CHECK(each->end_step(/*ends_epoch=*/true) == Approx(100.0 / 320));
  }
  // A cut of columns takes its codes along: only the weight that is left is compared.
  const std::vector<int64_t> keep{0, 5};
  r.layers[0].weight.replace(kept(r.layers[0].weight.value(), 1, keep));
  for (const FollowCut& follow : r.state.followers) follow(r.layers[0].weight, 1, keep);
  CHECK(buffer(r).value().shape() == Shape{10, 2});
  CHECK(r.end_step(/*ends_epoch=*/true) == 0);
}

TEST_CASE("tables: rows of two methods follow one another, other columns are refused") {
  ReportedRun r;
  MethodRun other(r.state, "other");
  r.run.table("sizes", {"layer", "n"}, {{"a", "1"}});
  other.table("sizes", {"layer", "n"}, {{"b", "2"}});
  CHECK(r.state.tables.at("sizes") == Rows{{"layer", "n"}, {"a", "1"}, {"b", "2"}});
  CHECK_THROWS_WITH_AS(other.table("sizes", {"layer"}, {}),
                       "method other: table sizes: its columns are not those it has", Error);
  CHECK_THROWS_AS(other.table("sizes", {"layer", "n"}, {{"c"}}), Error);
}

/// Names in the table, of weights or values.
std::vector<std::string> names_of(const Rows& table, const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& row : table) {
    if (row[1] == kind) names.push_back(row[2]);
  }
  return names;
}

TEST_CASE("rounding report: every quantizing method has a row for each layer that it rounds") {
  struct Case {
    const char *method, *knobs;
    size_t weights, values;
  };
  for (const Case& c :
       {Case{"minmax", "weight_bits: 3", 8, 9}, Case{"lsq", "", 8, 9}, Case{"dorefa", "", 6, 7},
        Case{"dorefa", "activation_bits: 32", 6, 0}, Case{"ttq", "", 6, 0},
        Case{"inq", "portions: [0.5, 1], epochs_per_stage: 1", 8, 0}}) {
    CAPTURE(c.method);
    TestPhase phase = pruning_phase(str("{", c.method, ": {", c.knobs, "}}"),
                                    {"phases.sparse.train.epochs=1"}, "resnet8_28");
    phase->start();
    finish_epoch(phase);
    CHECK(phase.mean(str(c.method, ".changed_percent")) > 0);
    phase->finish();
    const Rows& table = phase->state().tables.at("quant");
    const std::vector<std::string> weights = names_of(table, "weight");
    CHECK(weights.size() == c.weights);
    CHECK(std::ranges::count(weights, "layer2.0.conv1") == 1);
    CHECK(std::ranges::count(weights, "linear") == (c.weights == 8 ? 1 : 0));
    CHECK(names_of(table, "value").size() == c.values);
    for (const auto& row : table) {
      if (row[0] != c.method) continue;
      CAPTURE(row[2]);
      CHECK(std::stod(row[4]) < std::stod(row[5]));
      CHECK(std::stod(row[6]) <= std::stod(row[7]));
      if (row[1] == "weight") CHECK(std::stod(row[10]) >= 0);
      const bool has_ends =
          row[1] == "value" || std::string(c.method) == "minmax" || std::string(c.method) == "lsq";
      CHECK(row[8].empty() != has_ends);
      if (std::string(c.method) == "dorefa" && row[1] == "weight") CHECK(row[9] == "0");
    }
  }
}

}  // namespace
}  // namespace vtrain
