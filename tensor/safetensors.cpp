#include "tensor/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

static_assert(std::endian::native == std::endian::little,
              "elements are copied as they lie in memory");

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr std::string_view kReserved = "checksum";
constexpr std::string_view kChecksumField =
    "\"checksum\":\"";  // quotes inside values are escaped: it occurs once
constexpr std::string_view kNoChecksum = "0000000000000000";

constexpr std::array<std::pair<DType, std::string_view>, 9> kDTypes{{{DType::f32, "F32"},
                                                                     {DType::f64, "F64"},
                                                                     {DType::bf16, "BF16"},
                                                                     {DType::f16, "F16"},
                                                                     {DType::i8, "I8"},
                                                                     {DType::u8, "U8"},
                                                                     {DType::i32, "I32"},
                                                                     {DType::i64, "I64"},
                                                                     {DType::boolean, "BOOL"}}};

std::string_view file_name_of(DType dtype) {
  for (const auto& [known, name] : kDTypes) {
    if (known == dtype) return name;
  }
  throw IoError(str("safetensors has no name for ", name_of(dtype)));
}

std::optional<DType> dtype_named(std::string_view name) {
  for (const auto& [dtype, known] : kDTypes) {
    if (known == name) return dtype;
  }
  return std::nullopt;
}

std::string checksum(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  const uint64_t hash = XXH64(bytes.data(), bytes.size(), /*seed=*/0);
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += digits[hash >> shift & 15];
  return text;
}

std::string_view bytes_of(const Tensor& t) {
  return {reinterpret_cast<const char*>(t.raw()), static_cast<size_t>(t.bytes())};
}

/// Larger elements first, then by name: every tensor is aligned for its type in a file that is
/// mapped into memory.
std::vector<std::pair<std::string, Tensor>> in_file_order(const std::string& path,
                                                          const NamedTensors& content) {
  std::vector<std::pair<std::string, Tensor>> ordered;
  for (const auto& [name, tensor] : content.tensors) {
    if (!tensor.defined()) throw IoError(str(path, ": tensor ", name, " is undefined"));
    ordered.emplace_back(name, tensor.to(Device{}).contiguous());
  }
  std::ranges::stable_sort(ordered, std::ranges::greater{},
                           [](const auto& entry) { return size_of(entry.second.dtype()); });
  return ordered;
}

std::string header_text(const std::string& path, const NamedTensors& content,
                        const std::vector<std::pair<std::string, Tensor>>& ordered) {
  Json metadata = Json::object();
  for (const auto& [key, value] : content.metadata) {
    if (key.starts_with(kReserved)) {
      throw IoError(str(path, ": metadata key ", key, " is reserved"));
    }
    metadata[key] = value;
  }
  Json header = Json::object();
  int64_t begin = 0;
  for (const auto& [name, tensor] : ordered) {
    const int64_t end = begin + tensor.bytes();
    if (name == "__metadata__")
      throw IoError(str(path, ": a tensor cannot be called __metadata__"));
    header[name] = {{"dtype", file_name_of(tensor.dtype())},
                    {"shape", tensor.shape()},
                    {"data_offsets", {begin, end}}};
    metadata[str(kReserved, '.', name)] = checksum(bytes_of(tensor));
    begin = end;
  }
  // Two marks, so that no single damaged byte makes the file look like one without checksums.
  metadata["checksums"] = "xxh64";
  metadata["checksum"] = kNoChecksum;
  header["__metadata__"] = std::move(metadata);
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::string sum = checksum(text);
  text.replace(text.find(kChecksumField) + kChecksumField.size(), sum.size(), sum);
  return text;
}

/// A file that is read at given places and never beyond its end.
class InputFile {
 public:
  explicit InputFile(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail(str("cannot open: ", std::strerror(errno)));
    struct stat info {};
    const bool is_file = fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
    size_ = is_file ? static_cast<uint64_t>(info.st_size) : 0;
    if (!is_file) {
      close(fd_);
      fail("is not a regular file");
    }
  }
  ~InputFile() { close(fd_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  uint64_t size() const { return size_; }
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(str(path_, ": ", what));
  }

  void read(uint64_t offset, uint64_t count, void* out) const {
    auto* to = static_cast<char*>(out);
    while (count > 0) {
      const ssize_t got = pread(fd_, to, count, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(str("cannot read at byte ", offset, ": ", std::strerror(errno)));
      if (got == 0) fail(str("ends at byte ", offset, ", ", count, " bytes too early"));
      to += got;
      offset += static_cast<uint64_t>(got);
      count -= static_cast<uint64_t>(got);
    }
  }

 private:
  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

struct Entry {
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // in the file
};

struct Header {
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::string> checksums;  // by tensor
};

std::string read_header_text(const InputFile& file) {
  if (file.size() < kLengthBytes) {
    file.fail(str("is no safetensors file: ", file.size(), " bytes, no room for a header"));
  }
  uint64_t length = 0;
  file.read(0, kLengthBytes, &length);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    file.fail(str("is no safetensors file or is truncated: header of ", length,
                  " bytes in a file of ", file.size()));
  }
  std::string text(length, '\0');
  file.read(kLengthBytes, length, text.data());
  return text;
}

Entry parse_entry(const InputFile& file, const std::string& name, const Json& json,
                  uint64_t data_begin) {
  const auto refuse = [&](const std::string& what) { file.fail(str("tensor ", name, ": ", what)); };
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() ||
      !json.contains("shape") || !json["shape"].is_array() || !json.contains("data_offsets") ||
      !json["data_offsets"].is_array() || json["data_offsets"].size() != 2) {
    refuse("expected dtype, shape and two data_offsets in the header");
  }
  Entry entry;
  const auto dtype_text = json["dtype"].get<std::string>();
  const std::optional<DType> dtype = dtype_named(dtype_text);
  if (!dtype) refuse(str("dtype ", dtype_text, " is not supported"));
  entry.dtype = *dtype;

  const uint64_t data_bytes = file.size() - data_begin;
  uint64_t bytes = size_of(entry.dtype);
  bool is_empty = false, is_too_large = false;
  for (const Json& extent : json["shape"]) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > uint64_t{1} << 62) {
      refuse("an extent of its shape is no size");
    }
    const auto n = extent.get<uint64_t>();
    entry.shape.push_back(static_cast<int64_t>(n));
    is_empty = is_empty || n == 0;
    uint64_t product = 0;
    is_too_large = __builtin_mul_overflow(bytes, std::max<uint64_t>(n, 1), &product) ||
                   product > uint64_t{1} << 62 || is_too_large;
    bytes = product;
  }
  if (is_empty) bytes = 0;
  const Json &first = json["data_offsets"][0], &last = json["data_offsets"][1];
  if (!first.is_number_unsigned() || !last.is_number_unsigned())
    refuse("data_offsets are no sizes");
  const auto begin = first.get<uint64_t>(), end = last.get<uint64_t>();
  if (begin > end || end > data_bytes) {
    refuse(str("data_offsets ", begin, "..", end, " leave the file's ", data_bytes,
               " bytes of data; the file is truncated or damaged"));
  }
  if (is_too_large || end - begin != bytes) {
    refuse(str("shape ", entry.shape, " of ", dtype_text, " does not fit its ", end - begin,
               " bytes"));
  }
  entry.begin = data_begin + begin;
  entry.end = data_begin + end;
  return entry;
}

/// Tensors must fill the data without overlap, hole or rest. That also refuses a header that names
/// one tensor twice.
void check_layout(const InputFile& file, const Header& header, uint64_t data_begin) {
  std::vector<std::pair<std::string, Entry>> ordered(header.entries.begin(), header.entries.end());
  std::ranges::sort(ordered, {},
                    [](const auto& e) { return std::pair(e.second.begin, e.second.end); });
  uint64_t filled = data_begin;
  for (const auto& [name, entry] : ordered) {
    if (entry.begin != filled) {
      file.fail(str("tensor ", name, ": its data starts at byte ", entry.begin, ", expected ",
                    filled, (entry.begin < filled ? " (overlap)" : " (hole)")));
    }
    filled = entry.end;
  }
  if (filled != file.size()) {
    file.fail(str("expected ", filled, " bytes, got ", file.size()));
  }
}

/// Moves checksums out of the metadata, after comparing the header's own.
void verify_header(const InputFile& file, std::string text, Header& header) {
  std::map<std::string, std::string> sums;
  for (auto it = header.metadata.begin(); it != header.metadata.end();) {
    if (it->first.starts_with(kReserved)) {
      sums.insert(header.metadata.extract(it++));
    } else {
      ++it;
    }
  }
  if (sums.empty()) return;  // a file of somebody else
  const size_t field = text.find(kChecksumField), at = field + kChecksumField.size();
  if (field == std::string::npos || at + kNoChecksum.size() > text.size()) {
    file.fail("the header is damaged: its checksum is missing");
  }
  text.replace(at, kNoChecksum.size(), kNoChecksum);
  if (sums["checksum"] != checksum(text)) {
    file.fail("the header is damaged: its checksum does not match");
  }
  for (const auto& [name, entry] : header.entries) {
    const auto sum = sums.find(str(kReserved, '.', name));
    if (sum == sums.end()) file.fail(str("tensor ", name, ": its checksum is missing"));
    header.checksums[name] = sum->second;
  }
}

Header read_header(const InputFile& file) {
  const std::string text = read_header_text(file);
  const uint64_t data_begin = kLengthBytes + text.size();
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) file.fail("is no safetensors file: its header is not a JSON object");
  Header header;
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.entries[name] = parse_entry(file, name, value, data_begin);
      continue;
    }
    if (!value.is_object()) file.fail("__metadata__ is not a JSON object");
    for (const auto& [key, entry] : value.items()) {
      if (!entry.is_string()) file.fail(str("metadata ", key, " is not a text"));
      header.metadata[key] = entry.get<std::string>();
    }
  }
  verify_header(file, text, header);
  check_layout(file, header, data_begin);
  return header;
}

Tensor read_tensor(const InputFile& file, const Header& header, const std::string& name,
                   const Entry& entry) {
  Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
  file.read(entry.begin, entry.end - entry.begin, tensor.raw());
  const std::string_view bytes = bytes_of(tensor);
  const auto expected = header.checksums.find(name);
  if (expected != header.checksums.end() && expected->second != checksum(bytes)) {
    file.fail(str("tensor ", name, ": checksum does not match, its data is damaged"));
  }
  // A C++ bool that is neither 0 nor 1 is undefined behaviour later on.
  if (entry.dtype == DType::boolean && std::ranges::any_of(bytes, [](char b) { return b & ~1; })) {
    file.fail(str("tensor ", name, ": a BOOL is neither 0 nor 1"));
  }
  return tensor;
}

}  // namespace

void write_safetensors(const std::string& path, const NamedTensors& content) try {
  const std::vector<std::pair<std::string, Tensor>> ordered = in_file_order(path, content);
  const std::string header = header_text(path, content, ordered);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&length), kLengthBytes});
  file.write(header);
  for (const auto& [name, tensor] : ordered) file.write(bytes_of(tensor));
  file.commit();
} catch (const Json::exception& e) {
  throw IoError(str(path, ": a name or metadata is not UTF-8: ", e.what()));
}

NamedTensors read_safetensors(const std::string& path) {
  const InputFile file(path);
  Header header = read_header(file);
  NamedTensors content;
  for (const auto& [name, entry] : header.entries) {
    content.tensors[name] = read_tensor(file, header, name, entry);
  }
  content.metadata = std::move(header.metadata);
  return content;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::string& path) {
  const InputFile file(path);
  return read_header(file).metadata;
}

}  // namespace vtrain
