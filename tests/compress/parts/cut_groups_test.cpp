#include "compress/parts/cut_groups.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "autograd/arithmetic.h"
#include "compress/edit.h"
#include "tensor/random.h"
#include "tests/cutting.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

Network made(const std::string& model, int64_t channels = 3, int64_t image_size = 32) {
  return Network({.model = model,
                  .options = {.num_classes = 10, .channels = channels, .image_size = image_size},
                  .parts = {}});
}

const CutGroup& group_of(const CutGroups& groups, const std::string& parameter, int axis) {
  for (const CutGroup& group : groups.groups()) {
    for (const CutGroup::Place& place : group.places) {
      if (place.parameter == parameter && place.axis == axis) return group;
    }
  }
  FAIL("no group at " << parameter << " axis " << axis);
  return groups.groups().front();
}

std::set<std::string> text_of(const CutGroup& group) {
  std::set<std::string> places;
  for (const CutGroup::Place& place : group.places)
    places.insert(str(place.parameter, " ", place.axis));
  return places;
}

/// The share `rate` of every group that `wanted` names, the last channels.
template <class Wanted>
Cut last_of(const CutGroups& groups, double rate, const Wanted& wanted) {
  Cut cut = groups.nothing();
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    if (!wanted(group)) continue;
    const auto removed = static_cast<int64_t>(static_cast<double>(group.size()) * rate + 1e-9);
    for (int64_t i = group.size() - removed; i < group.size(); ++i) cut[g].push_back(i);
  }
  return cut;
}
const auto kAll = [](const CutGroup&) { return true; };
const auto kInner = [](const CutGroup& group) { return !group.is_residual; };

TEST_CASE("cut groups: a plain convolution binds its rows, its norm and the next columns") {
  Network network = made("vgg_bn_28", 1, 28);
  const CutGroups groups(network);
  CHECK(text_of(group_of(groups, "features.0.weight", 0)) ==
        std::set<std::string>{"features.0.weight 0", "features.0.bias 0", "features.1.weight 0",
                              "features.1.bias 0", "features.1.running_mean 0",
                              "features.1.running_var 0", "features.4.weight 1"});
}

TEST_CASE(
    "cut groups: expansion, depthwise and projection of MobileNetV2 are one, with its groups") {
  Network network = made("mobilenet_v2");
  const CutGroups groups(network);
  const CutGroup& group = group_of(groups, "features.2.conv.0.0.weight", 0);
  CHECK(group.size() == 96);
  CHECK(text_of(group).contains("features.2.conv.1.0.weight 0"));
  CHECK(text_of(group).contains("features.2.conv.1.1.running_var 0"));
  CHECK(text_of(group).contains("features.2.conv.2.weight 1"));
  CHECK(text_of(group).size() == 11);
  CHECK(!group.is_residual);
  // 16 channels of block 1, without a shortcut.
  CHECK(!group_of(groups, "features.1.conv.1.weight", 0).is_residual);
  CHECK(group_of(groups, "features.2.conv.2.weight", 0).is_residual);
}

// The card's figures (derived): ResNet-20 and -56 at half of the inner, and of all channels.
TEST_CASE("cut groups: half of the channels leave the multiply-adds that arithmetic says") {
  const auto less = [](const std::string& model, const auto& wanted) {
    Network network = made(model);
    const CutGroups groups(network);
    const Cut cut = last_of(groups, 0.5, wanted);
    return 100 - 100 * static_cast<double>(groups.macs(cut)) /
                     static_cast<double>(groups.macs(groups.nothing()));
  };
  const auto to_tenth = [](double percent) { return std::round(percent * 10) / 10; };
  CHECK(to_tenth(less("resnet20", kInner)) == 49.5);
  CHECK(to_tenth(less("resnet56", kInner)) == 49.8);
  CHECK(to_tenth(less("resnet20", kAll)) == 74.7);
  CHECK(to_tenth(less("resnet56", kAll)) == 74.9);
}

TEST_CASE("cut groups: streams that are padded with zeros fall into one group per width") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  // 9 blocks with a hidden group each, and the stream: 16 channels from the start, 16 that the
  // second stage adds around them, 32 of the third.
  CHECK(groups.groups().size() == 12);
  std::multiset<int64_t> streams;
  for (const CutGroup& group : groups.groups()) {
    if (group.is_residual) streams.insert(group.size());
  }
  CHECK(streams == std::multiset<int64_t>{16, 16, 32});
}

TEST_CASE("cut groups: queries and keys, values, hidden units and the stream of a transformer") {
  Network network = made("deit_micro_patch4_28", 1, 28);
  const CutGroups aligned(network);
  const CutGroup& keys = group_of(aligned, "blocks.1.attn.qkv.weight", 0);
  CHECK(keys.size() == 24);  // of 4 heads
  CHECK(keys.places.size() == 2);
  CHECK(keys.indices[3] ==
        std::vector<std::vector<int64_t>>(2, {3, 27, 51, 75, 99, 123, 147, 171}));
  const CutGroup& values = group_of(aligned, "blocks.1.attn.proj.weight", 1);
  CHECK(values.size() == 24);
  CHECK(values.indices[3][0] == std::vector<int64_t>{195, 219, 243, 267});
  CHECK(group_of(aligned, "blocks.1.mlp.fc2.weight", 1).size() == 384);
  const CutGroup& stream = group_of(aligned, "pos_embed", 2);
  CHECK(stream.size() == 96);
  CHECK(stream.is_residual);
  CHECK(stream.is_normalised);
  CHECK(text_of(stream).contains("head.weight 1"));
  CHECK(text_of(stream).contains("patch_embed.proj.weight 0"));

  const CutGroups whole(network, GroupedCut::kWhole);
  const CutGroup& heads = group_of(whole, "blocks.1.attn.qkv.weight", 0);
  CHECK(heads.size() == 4);
  CHECK(heads.indices[2][0].size() == 72);
}

TEST_CASE("cut groups: counts after a cut are those of the network that was cut") {
  for (const std::string model : {"resnet20", "mobilenet_v2", "vgg11", "resnet18"}) {
    for (const double rate : {0.1, 0.5, 0.9}) {
      CAPTURE(model);
      CAPTURE(rate);
      Network network = made(model);
      const CutGroups groups(network);
      const Cut cut = last_of(groups, rate, kAll);
      const int64_t macs = groups.macs(cut), params = groups.params(cut);
      network.cut(groups.plan(cut));
      const Graph graph(network);
      CHECK(graph.macs() == macs);
      CHECK(graph.params() == params);
    }
  }
  for (const GroupedCut grouped : {GroupedCut::kAligned, GroupedCut::kWhole}) {
    Network network = made("deit_micro_patch4_28", 1, 28);
    const CutGroups groups(network, grouped);
    const Cut cut = last_of(groups, 0.5, kAll);
    const int64_t macs = groups.macs(cut), params = groups.params(cut);
    network.cut(groups.plan(cut));
    CHECK(Graph(network).macs() == macs);
    CHECK(Graph(network).params() == params);
  }
}

TEST_CASE("cut groups: a cut network is rebuilt from its file, trains on and can be cut again") {
  const TemporaryFolder folder;
  Network network = made("mobilenet_v2");
  network.initialise(3);
  const CutGroups groups(network);
  network.cut(groups.plan(last_of(groups, 0.5, kAll)));
  const std::string path = folder.path() + "/compact.safetensors";
  network.save(path);
  const std::unique_ptr<Network> loaded = Network::load(path);
  const Tensor images = Random(1, "", "images").normal({2, 3, 32, 32}, {}).channels_last();
  CHECK(loaded->logits(images).to_vector() == network.logits(images).to_vector());
  CHECK(loaded->clone()->logits(images).to_vector() == network.logits(images).to_vector());
  CHECK(loaded->architecture().to_json() == network.architecture().to_json());

  Pass pass;
  pass.is_training = pass.wants_grad = true;
  backward(sum(square(loaded->forward(images, pass).logits)));
  for (const Parameter& p : loaded->parameters()) {
    if (!p.is_buffer()) CHECK(p.grad().shape() == p.value().shape());
  }
  const CutGroups again(*loaded);
  CHECK(again.macs(again.nothing()) == Graph(network).macs());
  loaded->cut(again.plan(last_of(again, 0.25, kAll)));
  CHECK(loaded->logits(images).shape() == Shape{2, 10});
}

TEST_CASE("cut groups: a whole block goes, is recorded, and leaves the identity") {
  Network network = made("resnet20");
  network.initialise(3);
  network.cut({.axes = {}, .structure = {}, .dropped = {"layer2.1", "layer1.0"}});
  const Tensor images = Random(1, "", "images").normal({2, 3, 32, 32}, {}).channels_last();
  const Tensor logits = network.logits(images);
  CHECK(!network.has_module("layer2.1.conv1"));
  CHECK(Graph(network).macs() ==
        40'551'040 - 2 * 16 * 16 * 9 * 32 * 32 - 2 * 32 * 32 * 9 * 16 * 16);
  CHECK(network.clone()->logits(images).to_vector() == logits.to_vector());
}

TEST_CASE("cut groups: impossible cuts are refused, naming the layer") {
  Network network = made("resnet20");
  const CutGroups groups(network);
  Cut cut = groups.nothing();
  const CutGroup& hidden = group_of(groups, "layer1.0.conv1.weight", 0);
  const auto g = static_cast<size_t>(&hidden - groups.groups().data());
  cut[g].resize(16);
  std::iota(cut[g].begin(), cut[g].end(), 0);
  CHECK_THROWS_WITH_AS(
      groups.plan(cut),
      "cut: layer1.0.conv1 would keep none of its 16 channels: expected at least one", Error);
  cut[g] = {3, 3};
  CHECK_THROWS_WITH_AS(groups.plan(cut), doctest::Contains("layer1.0.conv1: channel 3"), Error);
  cut[g] = {16};
  CHECK_THROWS_AS(groups.plan(cut), Error);
  CHECK_THROWS_WITH_AS(groups.plan({}), doctest::Contains("12 groups"), Error);
  const auto before = network.state();
  CHECK_THROWS_AS(network.cut({.axes = {{"conv1.weight", 0, {0, 1}}, {"conv9.weight", 0, {0}}}}),
                  Error);
  CHECK_THROWS_AS(network.cut({.axes = {{"conv1.weight", 0, {}}}}), Error);
  CHECK_THROWS_AS(network.cut({.axes = {{"conv1.weight", 0, {16}}}}), Error);
  CHECK(network.state().at("conv1.weight").shape() == before.at("conv1.weight").shape());
  CHECK(!network.architecture().is_changed());
}

TEST_CASE("cut groups: a record that does not fit its model is refused, naming the place") {
  const auto network = [](Architecture a) { return Network(std::move(a)); };
  Architecture a{.model = "resnet20",
                 .options = {.num_classes = 10, .channels = 3, .image_size = 32},
                 .parts = {}};
  a.shapes["conv9.weight"] = {1};
  CHECK_THROWS_WITH_AS(network(a), doctest::Contains("no parameter conv9.weight"), CheckpointError);
  a.shapes = {{"conv1.weight", {0, 3, 3, 3}}};
  CHECK_THROWS_WITH_AS(network(a), doctest::Contains("conv1.weight"), CheckpointError);
  a.shapes.clear();
  a.structure["conv1"]["heads"] = 2;
  CHECK_THROWS_WITH_AS(network(a), doctest::Contains("no number called heads"), CheckpointError);
  a.structure = {{"conv1", {{"groups", 0.5}}}};
  CHECK_THROWS_WITH_AS(network(a), doctest::Contains("whole number"), CheckpointError);
  a.structure.clear();
  a.dropped = {"layer9"};
  CHECK_THROWS_WITH_AS(network(a), doctest::Contains("no module layer9"), CheckpointError);
}

TEST_CASE("cut groups: masked and compact agree in f64 for every kind of model, ratio and score") {
  // Small images: what is cut does not depend on their size. `./dev test --full` has the others.
  struct Case {
    std::string model;
    int64_t channels, image_size;
  };
  for (const Case& c : {Case{"resnet20", 3, 8}, Case{"resnet18_cifar", 3, 8},
                        Case{"mobilenet_v2", 3, 32}, Case{"vgg_bn_28", 1, 28},
                        Case{"deit_micro_patch4_28", 1, 28}, Case{"vit_nano_patch4_28", 1, 28}}) {
    for (const double rate : {0.1, 0.5, 0.9}) {
      CAPTURE(c.model);
      CAPTURE(rate);
      const uint64_t seed = static_cast<uint64_t>(rate * 10) + 1;
      for (const GroupedCut grouped : {GroupedCut::kAligned, GroupedCut::kWhole}) {
        Network network = made(c.model, c.channels, c.image_size);
        const MaskedCompact result =
            masked_against_compact(network, DType::f64, grouped, rate,
                                   rate == 0.5 ? CutScore::kMagnitude : CutScore::kRandom, seed);
        CHECK(result.difference < 1e-10);
        CHECK(result.removed > 0);
      }
    }
  }
}

TEST_CASE("cut groups: masked and compact agree in f32 on calibrated networks") {
  for (const std::string model : {"resnet20", "mobilenet_v2", "resnet18_cifar"}) {
    for (const double rate : {0.3, 0.7}) {
      CAPTURE(model);
      CAPTURE(rate);
      Network network = made(model);
      CHECK(masked_against_compact(network, DType::f32, GroupedCut::kAligned, rate,
                                   CutScore::kMagnitude, 3)
                .difference < 1e-5);
    }
  }
  Network network = made("deit_micro_patch4_28", 1, 28);
  CHECK(masked_against_compact(network, DType::f32, GroupedCut::kAligned, 0.5, CutScore::kRandom, 3)
            .difference < 1e-5);
}

// Every network there is, with images as small as it takes: what can be cut does not depend on
// their size. Of networks beyond 30 M parameters one seed and three ratios.
TEST_CASE("cut groups: masked and compact agree for every model, ratio, score and seed (--full)") {
  if (!is_full()) {
    MESSAGE("skipped: ./dev test --full runs it");
    return;
  }
  std::ofstream table(std::string(VTRAIN_BINARY_DIR) + "/masked_compact.md");
  table << "| model | parameters | cuts | channels cut | f64, worst | f32, worst |\n"
           "|---|---|---|---|---|---|\n";
  for (const ModelInfo& info : registered_models()) {
    if (info.name.starts_with("test_")) continue;
    CAPTURE(info.name);
    ModelOptions options = info.usual;
    options.num_classes = 10;
    if (options.image_size == 224) options.image_size = 32;
    const auto fresh = [&] {
      return Network({.model = info.name, .options = options, .parts = {}});
    };
    const int64_t parameters = fresh().parameter_count();
    const bool is_large = parameters > 30'000'000;
    int64_t cuts = 0, channels = 0;
    std::map<DType, double> worst;
    for (const double rate : is_large ? std::vector<double>{0.1, 0.5, 0.9}
                                      : std::vector<double>{0.1, 0.3, 0.5, 0.7, 0.9}) {
      for (const CutScore score : {CutScore::kRandom, CutScore::kMagnitude}) {
        for (uint64_t seed = 1; seed <= (is_large ? 1 : 3); ++seed) {
          for (const DType dtype : {DType::f64, DType::f32}) {
            CAPTURE(rate);
            CAPTURE(seed);
            Network network = fresh();
            const MaskedCompact result = masked_against_compact(
                network, dtype, seed == 2 ? GroupedCut::kWhole : GroupedCut::kAligned, rate, score,
                seed);
            CHECK(result.difference < (dtype == DType::f64 ? 1e-10 : 1e-5));
            worst[dtype] = std::max(worst[dtype], result.difference);
            channels += result.removed;
            ++cuts;
          }
        }
      }
    }
    char line[200];
    std::snprintf(line, sizeof(line), "| %s | %lld | %lld | %lld | %.1e | %.1e |\n",
                  info.name.c_str(), static_cast<long long>(parameters),
                  static_cast<long long>(cuts), static_cast<long long>(channels), worst[DType::f64],
                  worst[DType::f32]);
    table << line << std::flush;
  }
}

/// Some channels of every group that layers read one by one, one of them twice.
Growth some_of(const CutGroups& groups) {
  Growth growth(groups.groups().size());
  for (size_t g = 0; g < growth.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    const auto is_read = [](const CutGroup::Place& place) { return place.axis == 1; };
    const auto readers = std::ranges::count_if(group.places, is_read);
    if (group.is_normalised || readers == 0 || readers == std::ssize(group.places)) continue;
    growth[g] = {group.size() - 1, 0, 0};
  }
  return growth;
}

// In f64, through the plain kernels: what is left is rounding of sums in another order.
TEST_CASE("cut groups: a network whose channels have copies computes what it did, in both modes") {
  struct Case {
    std::string model;
    int64_t channels, size;
    GroupedCut grouped;
    std::vector<std::string> grown;  // parameters with more rows
  };
  const std::vector<Case> cases{
      {"vgg_bn_28", 1, 28, GroupedCut::kAligned, {"features.0.weight", "features.11.weight"}},
      {"resnet20", 3, 32, GroupedCut::kAligned, {"layer2.0.conv1.weight", "conv1.weight"}},
      {"mobilenet_v2", 3, 32, GroupedCut::kAligned, {"features.2.conv.1.0.weight"}},
      {"deit_micro_patch4_28",
       1,
       28,
       GroupedCut::kWhole,
       {"blocks.1.mlp.fc1.weight", "blocks.1.attn.qkv.weight"}},
      {"deit_micro_patch4_28", 1, 28, GroupedCut::kAligned, {"blocks.1.attn.qkv.weight"}}};
  for (const Case& c : cases) {
    CAPTURE(c.model);
    Network network = made(c.model, c.channels, c.size);
    make_trained(network, 1);
    const Tensor images =
        Random(2, "", "images").normal({2, c.channels, c.size, c.size}, {}).channels_last();
    calibrate_batch_norm(network, images);
    const CutGroups groups(network, c.grouped);
    widen(network);
    const auto trained = [&] {
      Pass pass;
      pass.is_training = true;
      pass.dtype = DType::f64;
      return network.root().outputs(Variable(images.to(DType::f64)), pass).logits.value();
    };
    std::map<std::string, int64_t> rows;
    for (const std::string& path : c.grown) rows[path] = network.parameter(path).value().dim(0);
    const bool has_dropout = c.model == "mobilenet_v2",
               has_statistics = !c.model.starts_with("deit");
    const Tensor evaluated_before = logits_of(network, images),
                 trained_before = has_dropout ? Tensor() : trained();
    network.grow(groups.plan_growth(some_of(groups)));
    for (const std::string& path : c.grown)
      CHECK(network.parameter(path).value().dim(0) > rows[path]);
    // Running statistics moved in between, so the second comparison is of batch statistics alone.
    if (!has_dropout) CHECK(relative_difference(trained_before, trained()) < 1e-9);
    if (has_dropout || !has_statistics)
      CHECK(relative_difference(evaluated_before, logits_of(network, images)) < 1e-10);
  }
}

TEST_CASE("cut groups: grown in evaluation, saved and loaded, a network has its logits") {
  const TemporaryFolder folder;
  for (const std::string model : {"vgg_bn_28", "mobilenet_v2"}) {
    CAPTURE(model);
    const int64_t channels = model == "vgg_bn_28" ? 1 : 3, size = channels == 1 ? 28 : 32;
    Network network = made(model, channels, size);
    make_trained(network, 1);
    const Tensor images =
        Random(2, "", "images").normal({2, channels, size, size}, {}).channels_last();
    calibrate_batch_norm(network, images);
    const Tensor before = network.logits(images);
    const CutGroups groups(network);
    network.grow(groups.plan_growth(some_of(groups)));
    const Tensor after = network.logits(images);
    CHECK(relative_difference(before, after) < 1e-4);  // f32, 50 layers
    network.save(folder / "grown.safetensors");
    const auto loaded = Network::load(folder / "grown.safetensors");
    CHECK(loaded->parameter_count() > made(model, channels, size).parameter_count());
    CHECK(loaded->logits(images).to_vector() == after.to_vector());
  }
}

TEST_CASE("cut groups: copies stand behind their originals, a flattened image's in whole runs") {
  Network network = made("vgg11");
  const CutGroups groups(network);
  Growth growth(groups.groups().size());
  for (size_t g = 0; g < growth.size(); ++g) {
    const auto& places = groups.groups()[g].places;
    if (std::ranges::any_of(places, [](const auto& p) {
          return p.parameter == "classifier.0.weight" && p.axis == 1;
        }))
      growth[g] = {3};
  }
  const NetworkGrowth plan = groups.plan_growth(growth);
  const auto axis = [&](const std::string& parameter, int number) {
    for (const NetworkGrowth::Axis& a : plan.axes) {
      if (a.parameter == parameter && a.axis == number) return a;
    }
    FAIL("no axis " << number << " of " << parameter);
    return plan.axes.front();
  };
  const NetworkGrowth::Axis columns = axis("classifier.0.weight", 1);
  CHECK(columns.is_read);
  CHECK(columns.from.size() == 513 * 49);
  CHECK(columns.from[4 * 49 - 1] == 4 * 49 - 1);
  CHECK(columns.from[4 * 49] == 3 * 49);
  CHECK(columns.from[5 * 49] == 4 * 49);
  CHECK(columns.copies.size() == 49);
  CHECK(columns.copies.front() == 4 * 49);
  const NetworkGrowth::Axis rows = axis("features.18.weight", 0);
  CHECK(!rows.is_read);
  CHECK(rows.copies == std::vector<int64_t>{4});
  CHECK(plan.axes.size() == 3);  // and the bias
}

TEST_CASE("cut groups: what copies would change is refused, naming the channels") {
  Network network = made("deit_micro_patch4_28", 1, 28);
  const CutGroups groups(network);
  const auto growth_at = [&](const std::string& parameter, int axis, int64_t channel) {
    Growth growth(groups.groups().size());
    for (size_t g = 0; g < growth.size(); ++g) {
      for (const CutGroup::Place& place : groups.groups()[g].places) {
        if (place.parameter == parameter && place.axis == axis) growth[g] = {channel};
      }
    }
    return growth;
  };
  CHECK_THROWS_WITH_AS(groups.plan_growth(growth_at("pos_embed", 2, 0)),
                       "grow: cls_token: a layer norm takes statistics over these channels, which "
                       "copies would change",
                       Error);
  CHECK_THROWS_WITH_AS(groups.plan_growth(growth_at("blocks.1.attn.qkv.weight", 0, 0)),
                       "grow: blocks.1.attn.qkv: expected channels that a layer makes and another "
                       "reads one by one, so that copies can share a weight",
                       Error);
  CHECK_THROWS_WITH_AS(groups.plan_growth(growth_at("blocks.1.mlp.fc1.weight", 0, 384)),
                       "grow: blocks.1.mlp.fc1: expected copies of channels 0..383, got 384",
                       Error);
}

}  // namespace
}  // namespace vtrain
