#include "tensor/torch_file.h"

#include <doctest/doctest.h>

#include <string>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

using Kind = TorchValue::Kind;

std::string golden_file(const std::string& name) {
  return std::string(VTRAIN_SOURCE_DIR "/tests/golden/") + name;
}

/// What make_torch_files.py saved, in both formats.
void check_content(const TorchValue& root) {
  REQUIRE(root.kind == Kind::kDict);
  REQUIRE(root.find("epoch"));
  CHECK(root.find("epoch")->integer == 7);
  CHECK(root.find("best")->real == 91.25);
  CHECK(root.find("name")->text == "tiny");
  CHECK(root.find("flag")->kind == Kind::kBoolean);
  CHECK(root.find("nothing")->kind == Kind::kNone);
  CHECK(root.find("absent") == nullptr);
  REQUIRE(root.find("steps")->items.size() == 3);
  CHECK(root.find("steps")->items[2].value.integer == -300);
  const TorchValue* const state = root.find("state_dict");
  REQUIRE(state);
  const auto values = [&](const char* key) {
    REQUIRE(state->find(key));
    return state->find(key)->tensor.to_vector();
  };
  CHECK(values("f32") == std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK(state->find("f32")->tensor.shape() == Shape{2, 3});
  CHECK(values("transposed") == std::vector<double>{0, 3, 1, 4, 2, 5});
  CHECK(state->find("transposed")->tensor.shape() == Shape{3, 2});
  CHECK(values("row") == std::vector<double>{3, 4, 5});  // the second row of the same storage
  CHECK(values("f64") == std::vector<double>{0.1});
  CHECK(values("i64") == std::vector<double>{-1, 1e15});
  CHECK(values("u8") == std::vector<double>{0, 255});
  CHECK(values("bool") == std::vector<double>{1, 0});
  CHECK(values("bf16") == std::vector<double>{1.5, -2});
  // Half: 1/3 rounded, the smallest denormal, the largest number.
  CHECK(values("f16") == std::vector<double>{0.333251953125, 5.9604644775390625e-08, 65504});
  CHECK(values("empty").empty());
  CHECK(values("scalar") == std::vector<double>{2.5});
}

TEST_CASE("torch file: both formats of torch.save give dicts, lists, numbers and tensors") {
  check_content(read_torch_file(golden_file("torch_zip.pth")));
  check_content(read_torch_file(golden_file("torch_legacy.pth")));
}

TEST_CASE("torch file: a pickle that wants to call something is refused by name and does nothing") {
  CHECK_THROWS_WITH_AS(
      read_torch_file(golden_file("torch_evil.pth")),
      doctest::Contains("the pickle asks for posix.system; expected tensors, dicts, lists"),
      CheckpointError);
}

TEST_CASE("torch file: cut off anywhere it is one error that names the file, never a crash") {
  const TemporaryFolder folder;
  for (const char* const name : {"torch_zip.pth", "torch_legacy.pth"}) {
    const std::string whole = file_content(golden_file(name));
    REQUIRE(whole.size() > 500);
    for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 97) {
      const std::string path = folder.path() + "/cut.pth";
      put_file(path, std::string_view(whole).substr(0, size));
      CAPTURE(name);
      CAPTURE(size);
      CHECK_THROWS_WITH_AS(read_torch_file(path), doctest::Contains(path.c_str()), CheckpointError);
    }
  }
}

TEST_CASE("torch file: flipped bytes are an error or leave a readable value, never a crash") {
  const TemporaryFolder folder;
  for (const char* const name : {"torch_zip.pth", "torch_legacy.pth"}) {
    const std::string whole = file_content(golden_file(name));
    int refused = 0;
    for (size_t at = 0; at < whole.size(); at += 3) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ 0x5a);
      const std::string path = folder.path() + "/flipped.pth";
      put_file(path, changed);
      try {
        read_torch_file(path);
      } catch (const CheckpointError&) {
        ++refused;
      }
    }
    CHECK(refused > 50);
  }
}

TEST_CASE("torch file: something else, and nothing, are named") {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/text.pth";
  put_file(path, "weights");
  CHECK_THROWS_WITH_AS(read_torch_file(path), doctest::Contains("got neither"), CheckpointError);
  CHECK_THROWS_WITH_AS(read_torch_file(folder.path() + "/absent.pth"),
                       doctest::Contains("cannot be opened"), CheckpointError);
}

}  // namespace
}  // namespace vtrain
