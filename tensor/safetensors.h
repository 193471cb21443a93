#pragma once

#include <map>
#include <string>

#include "tensor/atomic_file.h"  // IWYU pragma: export
#include "tensor/tensor.h"

namespace vtrain {

/// The content of one safetensors file (https://github.com/huggingface/safetensors): an 8-byte
/// little-endian header length, a JSON header, the elements in row-major order.
struct NamedTensors {
  std::map<std::string, Tensor> tensors = {};
  std::map<std::string, std::string> metadata = {};  // keys that start with "checksum" are ours
};

/// Writes atomically (AtomicFile); the bytes depend on the content only. `__metadata__` gets XXH64
/// checksums: "checksum.<name>" over a tensor's bytes, "checksum" over the header, "checksums" as a
/// mark that the others must be there. Throws IoError: a file that cannot be written, metadata that
/// is not UTF-8 or uses a reserved key.
void write_safetensors(const std::string& path, const NamedTensors& content);

/// Reads a file of anybody's; tensors are on the CPU and contiguous. Checksums are verified if the
/// file has any, and removed from the metadata. Throws CheckpointError that names the file and,
/// where one is to blame, the tensor.
NamedTensors read_safetensors(const std::string& path);

/// The metadata alone, verified as far as the header goes.
std::map<std::string, std::string> read_safetensors_metadata(const std::string& path);

}  // namespace vtrain
