// `vtrain viz`: files of pictures and their table, from what phases leave.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "data/dataset.h"
#include "data/decode.h"
#include "tests/data/image_files.h"
#include "tests/process.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

/// The weights of what `method` leaves of deit_micro.
void save_finished(const std::string& method, const std::string& path) {
  TestPhase phase("{" + method + "}");
  phase->finish();
  phase->network().save(path);
}

const std::string kDropping = "dynamicvit: {at: [1, 3], counts: [20, 9], teacher: dense}";

/// The fields of a table's lines behind its head.
std::vector<std::vector<std::string>> lines_of(const std::string& table) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream text(table);
  std::string line, part;
  std::getline(text, line);
  CHECK(line == "image,patch_row,patch_col,block_left,group");
  while (std::getline(text, line)) {
    std::istringstream fields(line);
    lines.emplace_back();
    while (std::getline(fields, part, ',')) lines.back().push_back(part);
  }
  return lines;
}

int64_t count_of(const std::vector<std::vector<std::string>>& lines, size_t field,
                 const std::string& value) {
  return std::ranges::count_if(lines, [&](const auto& line) { return line[field] == value; });
}

Image read_png(const std::string& path) {
  const std::string bytes = file_content(path);
  return decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                      {.path = path});
}

/// Image `i` of the synthetic test split as a grey PNM file.
std::string synthetic_pnm(int64_t i) {
  std::string pixels(784, ' ');
  open_dataset("synthetic", {.root = {}, .split = Split::kTest})
      ->image(i, reinterpret_cast<uint8_t*>(pixels.data()));
  return "P5\n28 28\n255\n" + pixels;
}

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

TEST_CASE("viz: dynamicvit's panels and table say what its plan says, twice in the same bytes") {
  const TemporaryFolder folder;
  const std::string weights = folder / "sparse.safetensors";
  save_finished(kDropping, weights);
  put_file(folder / "third.pgm", synthetic_pnm(3));
  put_file(folder / "colour.png", image_text("rgb.png"));  // of another size, and not grey
  const auto draw = [&](const std::string& out) {
    return run_vtrain({"viz", weights, "data:3", folder / "third.pgm", folder / "colour.png",
                       "--data", "synthetic", "--threads", "1", "--out", folder / out});
  };
  const ProcessResult result = draw("a/b");
  REQUIRE_MESSAGE(result.exit_code == 0, result.errors);
  CHECK(result.output.starts_with(
      (folder / "a/b/tokens_synthetic_3.png") +
      ": image | 20 of 49 patches behind block 1 | 9 of 49 patches behind block 3 | 9 tokens at "
      "the end | blocks in which patches left\n"));
  CHECK(files_in(folder / "a/b") == std::vector<std::string>{"tokens.csv", "tokens_colour.png",
                                                             "tokens_synthetic_3.png",
                                                             "tokens_third.png"});
  const auto lines = lines_of(file_content(folder / "a/b/tokens.csv"));
  REQUIRE(lines.size() == 3 * 49);
  CHECK(count_of(lines, 3, "-1") == 3 * 9);
  CHECK(count_of(lines, 3, "1") == 3 * (49 - 20));
  CHECK(count_of(lines, 3, "3") == 3 * (20 - 9));
  CHECK(count_of(lines, 4, "-1") == 3 * (49 - 9));
  // The same image from the data set and from a file.
  for (size_t p = 0; p < 49; ++p) {
    CHECK(lines[p][0] == "synthetic_3");
    CHECK(lines[p][1] == std::to_string(p / 7));
    CHECK(lines[p][2] == std::to_string(p % 7));
    for (const size_t f : {1, 2, 3, 4}) CHECK(lines[p][f] == lines[49 + p][f]);
  }
  const Image row = read_png(folder / "a/b/tokens_third.png");
  CHECK(row.size == ImageSize{3, 224, 5 * 224 + 4 * 8});
  const std::string pnm = synthetic_pnm(3);
  for (const int64_t y : {0, 13, 27}) {  // the first panel is the image, eight pixels for one
    for (const int64_t x : {0, 9, 27})
      CHECK(row.row(8 * y + 7)[3 * (8 * x)] ==
            static_cast<uint8_t>(pnm[pnm.size() - 784 + static_cast<size_t>(28 * y + x)]));
  }
  REQUIRE(draw("again").exit_code == 0);
  for (const std::string& file : files_in(folder / "a/b"))
    CHECK(file_content(folder / ("a/b/" + file)) == file_content(folder / ("again/" + file)));
}

TEST_CASE("viz: tome's table has a line for every patch in one of its tokens") {
  const TemporaryFolder folder;
  save_finished("tome: {r: 6}", folder / "merged.safetensors");
  const ProcessResult result =
      run_vtrain({"viz", folder / "merged.safetensors", "data:0", "data:1999", "--data",
                  "synthetic", "--out", folder / "out"});
  REQUIRE_MESSAGE(result.exit_code == 0, result.errors);
  CHECK(result.output.find(": image | 13 tokens at the end | blocks in which patches left\n") !=
        std::string::npos);
  const auto lines = lines_of(file_content(folder / "out/tokens.csv"));
  REQUIRE(lines.size() == 2 * 49);
  CHECK(count_of(lines, 3, "-1") == 2 * 13);
  for (const char* const block : {"0", "1", "2", "3", "4", "5"})
    CHECK(count_of(lines, 3, block) == 2 * 6);
  CHECK(count_of(lines, 4, "-1") == 0);
  for (size_t p = 0; p < 49; ++p) {  // who stays is the lowest of its group
    const std::string& group = lines[p][4];
    CHECK((lines[p][3] == "-1") == (group == std::to_string(p)));
    CHECK(lines[std::stoul(group)][4] == group);
  }
  const Image row = read_png(folder / "out/tokens_synthetic_1999.png");
  CHECK(row.size == ImageSize{3, 224, 3 * 224 + 2 * 8});
}

TEST_CASE("viz: what cannot be drawn is one line and the documented exit code") {
  const TemporaryFolder folder;
  const std::string weights = folder / "sparse.safetensors";
  save_finished(kDropping, weights);
  save_finished("dynamicvit: {at: [1], counts: [49], teacher: dense}",
                folder / "whole.safetensors");
  put_file(folder / "cut.pgm", synthetic_pnm(0).substr(0, 99));
  put_file(folder / "good.pgm", synthetic_pnm(0));
  const auto refused = [&](std::vector<std::string> arguments, int exit_code,
                           const std::string& text) {
    arguments.insert(arguments.begin(), "viz");
    arguments.insert(arguments.end(), {"--data", "synthetic", "--out", folder / "out"});
    const ProcessResult result = run_vtrain(arguments);
    CAPTURE(result.errors);
    CHECK(result.exit_code == exit_code);
    CHECK(result.errors.find(text) != std::string::npos);
    CHECK(std::ranges::count(result.errors, '\n') == 1);
    CHECK(result.output.empty());
  };
  refused({weights}, 2, "images");
  refused({weights, "data:2000"}, 2,
          "data:2000: expected data:N with N in 0..1999, an image of the test split of synthetic");
  refused({weights, "data:1x"}, 2, "data:1x: expected data:N");
  refused({weights, "data:-1"}, 2, "data:-1: expected data:N");
  refused({weights, folder / "good.pgm", "data:3", folder / "good.png"}, 3, "good.png");
  refused({weights, folder / "good.pgm", folder / "good.pgm"}, 2,
          "would be written to the file of " + (folder / "good.pgm") + ", tokens_good.png");
  refused({weights, folder / "cut.pgm"}, 3, "cut.pgm: is truncated");
  refused({folder / "none.safetensors", "data:0"}, 7, "none.safetensors");
  refused({folder / "whole.safetensors", "data:0"}, 2,
          "whole.safetensors: keeps every token of these images to its end: nothing to draw");
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
  Network convolutions({.model = "resnet8_28",
                        .options = {.num_classes = 10, .channels = 1, .image_size = 28},
                        .parts = {}});
  convolutions.initialise(1);
  convolutions.preprocessing = {.mean = {0.5}, .std = {0.2}, .class_names = {}};
  convolutions.save(folder / "resnet.safetensors");
  refused({folder / "resnet.safetensors", "data:0"}, 2,
          "resnet8_28: expected a vision transformer: this network has no blocks of tokens");
  const ProcessResult other =
      run_vtrain({"viz", weights, "data:0", "--data", "cifar10", "--root", folder.path()});
  CHECK(other.exit_code == 3);
  put_file(folder / "file", "");
  const ProcessResult no_folder =
      run_vtrain({"viz", weights, "data:0", "--data", "synthetic", "--out", folder / "file/out"});
  CHECK(no_folder.exit_code == 8);
  CHECK(no_folder.errors.find("file/out: Not a directory") != std::string::npos);
}

}  // namespace
}  // namespace vtrain
