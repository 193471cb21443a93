#include "compress/deploy/packed_weights.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/random.h"

namespace vtrain {
namespace {

constexpr PackedFormat kAll[] = {PackedFormat::kBits1, PackedFormat::kTrit2, PackedFormat::kInt4,
                                 PackedFormat::kOdd4,  PackedFormat::kPow2n, PackedFormat::kPow2w};

/// Codes that the format holds, all of them if there are enough.
Tensor codes_for(PackedFormat format, const Shape& shape) {
  std::vector<double> codes = Random(5, "", "codes").uniform(shape, {}).to_vector();
  for (double& c : codes) {
    const auto level = static_cast<int>(c * 16);
    c = format == PackedFormat::kBits1   ? (level % 2 != 0 ? 1 : -1)
        : format == PackedFormat::kTrit2 ? level % 3 - 1
        : format == PackedFormat::kInt4  ? level - 8
        : format == PackedFormat::kOdd4  ? 2 * level - 15
        : level < 2                      ? 0
                                         : std::ldexp(level % 2 != 0 ? 1 : -1, level / 2 - 1);
    if (format == PackedFormat::kPow2w) c *= 2;  // to 128
  }
  return from_values(shape, codes, DType::i32);
}

TEST_CASE("packed weights: what is unpacked is what was packed, whatever the width of a row") {
  for (const PackedFormat format : kAll) {
    for (const int64_t inputs : {1, 63, 64, 65, 70, 128}) {
      CAPTURE(name_of(format));
      CAPTURE(inputs);
      for (const Shape& shape :
           {Shape{3, inputs, 3, 3}, Shape{2, inputs, 1, 2}, Shape{5, inputs}}) {
        const Tensor codes = codes_for(format, shape), packed = pack(codes, format);
        CHECK(unpack(packed, shape, format).to_vector() == codes.to_vector());
        const int64_t bits = format == PackedFormat::kBits1   ? 1
                             : format == PackedFormat::kTrit2 ? 2
                             : format == PackedFormat::kPow2w ? 5
                                                              : 4;
        CHECK(packed.shape() == Shape{shape[0], (codes.numel() / shape[0] * bits + 7) / 8});
      }
    }
  }
}

TEST_CASE("packed weights: bytes worked by hand, input channels next to one another") {
  // One row, two inputs of 1 x 2 taps: logical c0 (a, b), c1 (c, d); in the file a, c, b, d.
  const Shape shape{1, 2, 1, 2};
  const auto bytes = [&](PackedFormat format, std::initializer_list<double> codes) {
    return pack(from_values(shape, codes, DType::i32), format).to_vector();
  };
  CHECK(bytes(PackedFormat::kBits1, {1, -1, -1, 1}) == std::vector<double>{0b1001});
  CHECK(bytes(PackedFormat::kTrit2, {1, 0, -1, 1}) == std::vector<double>{0b10011011});
  CHECK(bytes(PackedFormat::kInt4, {1, -8, -1, 7}) == std::vector<double>{0xF1, 0x78});
  CHECK(bytes(PackedFormat::kOdd4, {1, -15, -1, 15}) == std::vector<double>{0xF0, 0x78});
  CHECK(bytes(PackedFormat::kPow2n, {1, -64, 0, 4}) == std::vector<double>{0x01, 0x3F});
  CHECK(bytes(PackedFormat::kPow2w, {1, -128, 0, 4}) == std::vector<double>{0x00, 0x2F, 0b1101});
}

TEST_CASE("packed weights: the format is the smallest that holds all codes") {
  const auto format = [](std::initializer_list<double> codes) {
    const auto found = packed_format_of(from_values({1, 3}, codes, DType::i32));
    return found ? name_of(*found) : "none";
  };
  CHECK(format({1, -1, 1}) == "bits1");
  CHECK(format({1, 0, 1}) == "trit2");
  CHECK(format({7, 0, -8}) == "int4");
  CHECK(format({7, -3, 1}) == "int4");
  CHECK(format({15, -13, 1}) == "odd4");
  CHECK(format({15, 0, 1}) == "none");
  CHECK(format({-16, 0, 64}) == "pow2n");
  CHECK(format({-16, 0, 128}) == "pow2w");
  CHECK(format({-16, 3, 128}) == "none");
  CHECK(format({-127, 127, 17}) == "none");
}

TEST_CASE("packed weights: unknown names, other sizes and codes without a place are refused") {
  for (const PackedFormat each : kAll) CHECK(packed_format(name_of(each)) == each);
  CHECK_THROWS_WITH_AS(
      packed_format("trit5"),
      "packed weights: expected one of bits1, trit2, int4, odd4, pow2n, pow2w, got trit5",
      CheckpointError);
  CHECK_THROWS_WITH_AS(unpack(zeros({2, 3}, DType::u8), {2, 30}, PackedFormat::kBits1),
                       doctest::Contains("expected u8 (2, 4) for bits1 of (2, 30), got u8 (2, 3)"),
                       CheckpointError);
  CHECK_THROWS_WITH_AS(pack(from_values({1, 1}, {0}, DType::i8), PackedFormat::kBits1),
                       "pack: bits1 has no place for code 0", Error);
}

}  // namespace
}  // namespace vtrain
