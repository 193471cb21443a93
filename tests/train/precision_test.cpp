#include "train/precision.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "tensor/onednn.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

/// The choices of the process and the folder they are kept in, as they were once the test ends.
class Sandbox {
 public:
  Sandbox() : before_(Choices::of_process().table()) {
    if (const char* const folder = getenv("VTRAIN_CACHE")) outer_ = folder;
    use(folder_.path());
    Choices::of_process().clear();
  }
  ~Sandbox() {
    use(outer_);
    Choices::of_process().clear();
    Choices::of_process().add(before_);
  }
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  void use(const std::string& folder) const { setenv("VTRAIN_CACHE", folder.c_str(), 1); }
  std::string file() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      if (entry.path().extension() == ".txt") return entry.path().string();
    }
    return {};
  }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  Choices::Table before_;
  std::string outer_;
};

/// A 1x1 convolution, which leaves a choice: the library's convolution or its matmul.
class Pointwise final : public Model {
 public:
  explicit Pointwise(const ModelOptions& o)
      : conv_(o.channels, 8, {.has_bias = false}), norm_(8), head_(8, o.num_classes) {
    add("conv", conv_);
    add("norm", norm_);
    add("pool", pool_);
    add("head", head_);
  }
  Outputs outputs(const Variable& images, const Pass& pass) override {
    return {.logits = head_(pool_(norm_(conv_(images, pass), pass), pass), pass), .heads = {}};
  }

 private:
  Conv2d conv_;
  BatchNorm2d norm_;
  GlobalAveragePool pool_;
  Linear head_;
};
const RegisteredModel registered("test_pointwise", "of precision_test", "",
                                 [](const ModelOptions& o) -> std::unique_ptr<Model> {
                                   return std::make_unique<Pointwise>(o);
                                 });

Network pointwise() {
  Network network({.model = "test_pointwise",
                   .options = {.num_classes = 10, .channels = 3, .image_size = 8},
                   .parts = {}});
  network.initialise(1);
  return network;
}

TEST_CASE("choices of a run: made once on this machine, then taken from its file") {
  const Sandbox sandbox;
  std::vector<std::string> notes;
  const auto note = [&](const std::string& line) { notes.push_back(line); };
  const Network network = pointwise();
  const auto before = network.state().at("norm.running_var").to_vector();
  CHECK(make_choices(network, 4, Amp::kOff, note) == DType::f32);
  const Choices::Table measured = Choices::of_process().table();
  // Forward and the weight's gradient; the images need none.
  REQUIRE(measured.size() == 2);
  CHECK(measured.begin()->first.starts_with("conv2d f32 x(4, 3, 8, 8)"));
  REQUIRE(!sandbox.file().empty());
  // It rehearsed on a copy.
  CHECK(network.state().at("norm.running_var").to_vector() == before);

  // Another process begins with nothing, and ends with the same, whatever it would measure.
  Choices::Table turned = measured;
  for (auto& [key, index] : turned) index = 1 - index;
  std::string text = file_content(sandbox.file());
  text = text.substr(0, text.find('\n') + 1) + Choices::text_of(turned);
  put_file(sandbox.file(), text);
  Choices::of_process().clear();
  make_choices(network, 4, Amp::kOff, note);
  CHECK(Choices::of_process().table() == turned);
  CHECK(notes.empty());
  CHECK(Choices::from_text(Choices::text_of(measured)) == measured);
}

TEST_CASE(
    "choices of a run: amp names the dtype, or leaves it to a measurement that is made once, and "
    "not where the chip has no bf16") {
  const Sandbox sandbox;
  const auto note = [](const std::string& line) { FAIL_CHECK(line); };
  const Network network = pointwise();
  CHECK(make_choices(network, 4, Amp::kBf16, note) == DType::bf16);
  // Without instructions for it, bf16 is widened and computed by f32's ways; with them that is one
  // way of several.
  const Choices::Table measured = Choices::of_process().table();
  CHECK(std::any_of(measured.begin(), measured.end(), [](const auto& entry) {
          return entry.first.find(" bf16 ") != std::string::npos;
        }) == onednn::computes_bf16());
  const DType chosen = make_choices(network, 4, Amp::kAuto, note);
  const auto is_amp = [](const auto& entry) { return entry.first.starts_with("amp "); };
  const Choices::Table table = Choices::of_process().table();
  CHECK(std::count_if(table.begin(), table.end(), is_amp) == (onednn::computes_bf16() ? 1 : 0));
  if (!onednn::computes_bf16()) CHECK(chosen == DType::f32);
  Choices::of_process().clear();
  CHECK(make_choices(network, 4, Amp::kAuto, note) == chosen);
}

TEST_CASE("choices of a run: a damaged file and a folder that cannot be are told, not fatal") {
  const Sandbox sandbox;
  std::vector<std::string> notes;
  const auto note = [&](const std::string& line) { notes.push_back(line); };
  const Network network = pointwise();
  make_choices(network, 4, Amp::kOff, note);
  put_file(sandbox.file(), "another chip\n");
  Choices::of_process().clear();
  make_choices(network, 4, Amp::kOff, note);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].find("measured anew") != std::string::npos);
  CHECK(file_content(sandbox.file()).find("another chip") == std::string::npos);

  notes.clear();
  put_file(sandbox.folder() / "file", "");
  sandbox.use(sandbox.folder() / "file/below");
  make_choices(network, 4, Amp::kOff, note);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].find("not kept") != std::string::npos);
}

TEST_CASE("choices of a run: text that is none is a CheckpointError") {
  CHECK_THROWS_AS(Choices::from_text("nonsense\n"), CheckpointError);
}

}  // namespace
}  // namespace vtrain
