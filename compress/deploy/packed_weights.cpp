#include "compress/deploy/packed_weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

namespace vtrain {
namespace {

/// 0, or 2^0 .. 2^highest with a sign.
bool is_power(int64_t code, int highest) {
  const auto size = static_cast<uint64_t>(std::abs(code));
  return code == 0 || (std::has_single_bit(size) && size <= uint64_t{1} << highest);
}
/// The exponent of a power, and 8 if it is negative.
int64_t power_nibble(int64_t code) {
  return std::countr_zero(static_cast<uint64_t>(std::abs(code))) + (code < 0 ? 8 : 0);
}
int64_t power_of_nibble(int64_t nibble) {
  const int64_t size = int64_t{1} << (nibble & 7);
  return (nibble & 8) != 0 ? -size : size;
}

struct FormatEntry {
  PackedFormat format;
  const char* name;
  int64_t bits;
  bool (*holds)(int64_t code);
};
/// In the order of bits.
constexpr std::array<FormatEntry, 6> kFormats = {{
    {PackedFormat::kBits1, "bits1", 1, [](int64_t c) { return c == 1 || c == -1; }},
    {PackedFormat::kTrit2, "trit2", 2, [](int64_t c) { return -1 <= c && c <= 1; }},
    {PackedFormat::kInt4, "int4", 4, [](int64_t c) { return -8 <= c && c <= 7; }},
    {PackedFormat::kOdd4, "odd4", 4, [](int64_t c) { return c % 2 != 0 && -15 <= c && c <= 15; }},
    {PackedFormat::kPow2n, "pow2n", 4, [](int64_t c) { return is_power(c, 6); }},
    {PackedFormat::kPow2w, "pow2w", 5, [](int64_t c) { return is_power(c, 7); }},
}};

const FormatEntry& entry_of(PackedFormat format) {
  return *std::ranges::find(kFormats, format, &FormatEntry::format);
}

/// Where the k-th code of a row in the file's order stands in the row's logical order.
std::vector<size_t> file_order(const Shape& weight) {
  const auto length = static_cast<size_t>(numel_of(weight) / weight[0]);
  std::vector<size_t> order(length);
  const bool is_image = weight.size() == 4;
  const size_t taps = is_image ? static_cast<size_t>(weight[2] * weight[3]) : 1,
               inputs = length / taps;
  for (size_t tap = 0; tap < taps; ++tap) {
    for (size_t c = 0; c < inputs; ++c) order[tap * inputs + c] = c * taps + tap;
  }
  return order;
}

/// `count` bits of one row, the first in the lowest bit of a byte.
class BitRow {
 public:
  explicit BitRow(uint8_t* bytes) : bytes_(bytes) {}
  bool at(size_t i) const { return (bytes_[i / 8] >> (i % 8) & 1) != 0; }
  void raise(size_t i) { bytes_[i / 8] = static_cast<uint8_t>(bytes_[i / 8] | 1 << (i % 8)); }

 private:
  uint8_t* bytes_;
};

/// A nibble of a row.
int64_t nibble_at(const uint8_t* row, size_t i) {
  const int64_t n = row[i / 2] >> (4 * (i % 2)) & 15;
  return n < 8 ? n : n - 16;
}
void put_nibble(uint8_t* row, size_t i, int64_t value) {
  row[i / 2] = static_cast<uint8_t>(row[i / 2] | (value & 15) << (4 * (i % 2)));
}

void put(uint8_t* row, size_t i, size_t length, int64_t code, PackedFormat format) {
  BitRow bits(row);
  switch (format) {
    case PackedFormat::kBits1:
      if (code > 0) bits.raise(i);
      return;
    case PackedFormat::kTrit2:
      if (code != 0) bits.raise(i);
      if (code > 0) bits.raise(length + i);
      return;
    case PackedFormat::kInt4:
      put_nibble(row, i, code);
      return;
    case PackedFormat::kOdd4:
      put_nibble(row, i, (code - 1) / 2);
      return;
    case PackedFormat::kPow2n:
      if (code != 0) put_nibble(row, i, power_nibble(code) + 1);
      return;
    case PackedFormat::kPow2w:
      if (code == 0) return;
      put_nibble(row, i, power_nibble(code));
      bits.raise(4 * length + i);
      return;
  }
}

int64_t taken(uint8_t* row, size_t i, size_t length, PackedFormat format) {
  const BitRow bits(row);
  switch (format) {
    case PackedFormat::kBits1:
      return bits.at(i) ? 1 : -1;
    case PackedFormat::kTrit2:
      return !bits.at(i) ? 0 : bits.at(length + i) ? 1 : -1;
    case PackedFormat::kInt4:
      return nibble_at(row, i);
    case PackedFormat::kOdd4:
      return 2 * nibble_at(row, i) + 1;
    case PackedFormat::kPow2n: {
      const int64_t nibble = nibble_at(row, i) & 15;
      return nibble == 0 ? 0 : power_of_nibble(nibble - 1);
    }
    case PackedFormat::kPow2w:
      return bits.at(4 * length + i) ? power_of_nibble(nibble_at(row, i)) : 0;
  }
  throw Error("unpack: there are six formats");
}

}  // namespace

std::string name_of(PackedFormat format) { return entry_of(format).name; }

PackedFormat packed_format(const std::string& name) {
  for (const FormatEntry& entry : kFormats) {
    if (name == entry.name) return entry.format;
  }
  throw CheckpointError(
      str("packed weights: expected one of bits1, trit2, int4, odd4, pow2n, pow2w, got ", name));
}

std::optional<PackedFormat> packed_format_of(const Tensor& codes) {
  const std::vector<double> values = codes.to_vector();
  for (const FormatEntry& entry : kFormats) {
    if (std::ranges::all_of(values, [&](double c) { return entry.holds(static_cast<int64_t>(c)); }))
      return entry.format;
  }
  return {};
}

int64_t packed_row_bytes(const Shape& weight, PackedFormat format) {
  return (numel_of(weight) / weight[0] * entry_of(format).bits + 7) / 8;
}

Tensor pack(const Tensor& codes, PackedFormat format) {
  const std::vector<double> values = codes.to_vector();
  const std::vector<size_t> order = file_order(codes.shape());
  const int64_t bytes = packed_row_bytes(codes.shape(), format);
  Tensor packed = zeros({codes.dim(0), bytes}, DType::u8);
  for (int64_t o = 0; o < codes.dim(0); ++o) {
    const double* const row = values.data() + static_cast<size_t>(o) * order.size();
    for (size_t i = 0; i < order.size(); ++i) {
      const auto code = static_cast<int64_t>(row[order[i]]);
      if (!entry_of(format).holds(code))
        throw Error(str("pack: ", name_of(format), " has no place for code ", code));
      put(packed.data<uint8_t>() + o * bytes, i, order.size(), code, format);
    }
  }
  return packed;
}

Tensor unpack(const Tensor& bytes, const Shape& weight, PackedFormat format) {
  const Shape expected{weight[0], packed_row_bytes(weight, format)};
  if (bytes.dtype() != DType::u8 || bytes.shape() != expected)
    throw CheckpointError(str("expected u8 ", expected, " for ", name_of(format), " of ", weight,
                              ", got ", bytes.text()));
  Tensor own = bytes.contiguous();
  const std::vector<size_t> order = file_order(weight);
  std::vector<double> values(static_cast<size_t>(numel_of(weight)));
  for (int64_t o = 0; o < weight[0]; ++o) {
    double* const row = values.data() + static_cast<size_t>(o) * order.size();
    for (size_t i = 0; i < order.size(); ++i)
      row[order[i]] = static_cast<double>(
          taken(own.data<uint8_t>() + o * expected[1], i, order.size(), format));
  }
  return from_values(weight, values, format == PackedFormat::kPow2w ? DType::i32 : DType::i8);
}

}  // namespace vtrain
