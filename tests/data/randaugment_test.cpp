#include "data/randaugment.h"

#include <doctest/doctest.h>

#include <array>
#include <map>
#include <set>

#include "tests/data/image_files.h"

namespace vtrain {
namespace {

const Random kStream(/*seed=*/5, "dense", "test");
constexpr std::array<uint8_t, 3> kFill = {124, 116, 104};

Image augmented(const RandAugmentOptions& options, int64_t sample) {
  Image image = picture();
  randaugment(image, options, Interpolation::kBilinear, kFill, Draws(kStream, 0, sample));
  return image;
}

}  // namespace

TEST_CASE("randaugment: each of timm's fifteen operations gives PIL's bytes within one level") {
  CHECK(randaugment_ops().size() == 15);
  for (const RandAugmentOp& op : randaugment_ops()) {
    CAPTURE(op.name);
    const std::string stored = "randaugment." + std::string(op.name);
    Image image = picture();
    op.apply(image, 9, 1, Interpolation::kBilinear, kFill);
    CHECK(difference(image, stored_image(stored + ".9")).most <= 1);
    if (op.name == "AutoContrast" || op.name == "Equalize" || op.name == "Invert") continue;
    image = picture();
    op.apply(image, 4.3, -1, Interpolation::kBicubic, kFill);
    CHECK(difference(image, stored_image(stored + ".4.3")).most <= 1);
  }
}

TEST_CASE("randaugment: with probability 0 nothing happens, and draws are those of the sample") {
  CHECK(augmented({.prob = 0}, 3).pixels == picture().pixels);
  CHECK(augmented({.prob = 1}, 3).pixels == augmented({.prob = 1}, 3).pixels);
  CHECK(augmented({.prob = 1}, 3).pixels != augmented({.prob = 1}, 4).pixels);
}

TEST_CASE("randaugment: each knob changes the images") {
  const auto count_changed = [](const RandAugmentOptions& changed) {
    int count = 0;
    for (int64_t i = 0; i < 40; ++i)
      count += augmented(changed, i).pixels != augmented({}, i).pixels;
    return count;
  };
  CHECK(count_changed({.num_ops = 3}) > 5);
  CHECK(count_changed({.magnitude = 3}) > 5);
  CHECK(count_changed({.mstd = 3}) > 5);
  CHECK(count_changed({.prob = 0.9}) > 5);
  CHECK(count_changed({}) == 0);
}

TEST_CASE("randaugment: one operation in two is applied, and all of them come") {
  std::set<std::vector<uint8_t>> results;
  int unchanged = 0;
  const std::vector<uint8_t> original = picture().pixels;
  for (int64_t i = 0; i < 400; ++i) {
    const Image image = augmented({.num_ops = 1, .mstd = 0}, i);
    unchanged += image.pixels == original;
    results.insert(image.pixels);
  }
  CHECK(std::abs(unchanged - 200) < 50);  // five standard deviations
  // Without spread six of the fifteen have one form, nine go two ways; and the original.
  CHECK(results.size() == 6 + 2 * 9 + 1);
}

}  // namespace vtrain
