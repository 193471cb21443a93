#include "train/precision.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>

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

Network resnet() {
  Network network({.model = "resnet20",
                   .options = {.num_classes = 10, .channels = 3, .image_size = 8},
                   .parts = {}});
  network.initialise(1);
  return network;
}

TEST_CASE("choices of a run: made once on this machine, then taken from its file") {
  const Sandbox sandbox;
  std::vector<std::string> notes;
  const auto note = [&](const std::string& line) { notes.push_back(line); };
  const Network network = resnet();
  const auto before = network.state().at("bn1.running_var").to_vector();
  // This network leaves no choice by itself: every kernel is 3x3.
  Choices::of_process().add({{"conv2d of an earlier phase", 1}});
  CHECK(make_choices(network, 4, Amp::kOff, note) == DType::f32);
  const Choices::Table measured = Choices::of_process().table();
  CHECK(measured.at("conv2d of an earlier phase") == 1);
  REQUIRE(!sandbox.file().empty());
  // It rehearsed on a copy.
  CHECK(network.state().at("bn1.running_var").to_vector() == before);

  // Another process begins with nothing, and ends with the same, whatever it would measure.
  Choices::of_process().clear();
  make_choices(network, 4, Amp::kOff, note);
  CHECK(Choices::of_process().table() == measured);
  CHECK(notes.empty());
  CHECK(choices_from_text(choices_text(measured)) == measured);
}

TEST_CASE("choices of a run: a damaged file and a folder that cannot be are told, not fatal") {
  const Sandbox sandbox;
  std::vector<std::string> notes;
  const auto note = [&](const std::string& line) { notes.push_back(line); };
  const Network network = resnet();
  Choices::of_process().add({{"conv2d", 1}});
  make_choices(network, 4, Amp::kOff, note);
  put_file(sandbox.file(), "another chip\n");
  Choices::of_process().clear();
  Choices::of_process().add({{"conv2d", 1}});
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
  CHECK_THROWS_AS(choices_from_text("nonsense\n"), CheckpointError);
}

}  // namespace
}  // namespace vtrain
