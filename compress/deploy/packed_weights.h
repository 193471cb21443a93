#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/tensor.h"

namespace vtrain {

/// How codes of few bits lie in a file. A row is an output channel; its codes follow one another in
/// the order (kh, kw, input channel), (input channel) of a linear layer, and it ends at a whole
/// byte. The first code of a byte lies in its low bits.
enum class PackedFormat {
  kBits1,  // "bits1"  1 bit: 1 is +1, 0 is -1
  kTrit2,  // "trit2"  2 bits: a plane of the row that says nonzero, then one that says +1
  kInt4,   // "int4"   4 bits: -8..7, two's complement
  kOdd4,   // "odd4"   4 bits: odd codes -15..15, (code - 1) / 2 as int4
  kPow2n,  // "pow2n"  4 bits: 0 and +-1, 2, 4 .. 64; 0 is 0, else the exponent + 1, and 8 if it is
           // < 0
  kPow2w  // "pow2w"  5 bits: 0 and +-1, 2, 4 .. 128; a row of nibbles, exponent and 8 if it is < 0,
          //          then a plane of bits that says nonzero
};

std::string name_of(PackedFormat format);
/// Throws CheckpointError for an unknown name.
PackedFormat packed_format(const std::string& name);
/// The format of fewest bits that holds these codes; none: a byte each.
std::optional<PackedFormat> packed_format_of(const Tensor& codes);

/// Bytes of one row of a weight (O, ...).
int64_t packed_row_bytes(const Shape& weight, PackedFormat format);
/// Codes (O, ...) -> bytes u8 (O, packed_row_bytes). Throws Error for a code that has no place.
Tensor pack(const Tensor& codes, PackedFormat format);
/// The inverse, for a weight of that shape: i8, but i32 of kPow2w, whose 128 no i8 holds. Throws
/// CheckpointError for another number of bytes.
Tensor unpack(const Tensor& bytes, const Shape& weight, PackedFormat format);

}  // namespace vtrain
