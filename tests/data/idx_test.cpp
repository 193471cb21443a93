#include "data/idx.h"

#include <doctest/doctest.h>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

using namespace std::string_literals;

std::string header(std::initializer_list<int> shape) {
  std::string bytes = "\0\0\x08"s + static_cast<char>(shape.size());
  for (const int n : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(n >> shift);
  }
  return bytes;
}

std::string little_endian(uint32_t x, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(x >> 8 * i);
  return text;
}

/// RFC 1952 around one stored block of RFC 1951.
std::string gzip(const std::string& bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  const auto n = static_cast<uint32_t>(bytes.size());
  return "\x1F\x8B\x08\0\0\0\0\0\0\x03\x01"s + little_endian(n, 2) + little_endian(~n, 2) + bytes +
         little_endian(~crc, 4) + little_endian(n, 4);
}

std::string error_of(const std::string& path, int dimensions) {
  try {
    read_idx(path, dimensions, "a hint");
  } catch (const DataError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("idx: plain and gzip files give the same array") {
  const TemporaryFolder folder;
  const std::string bytes = header({2, 1, 3}) + "abcdef";
  put_file(folder / "plain", bytes);
  put_file(folder / "packed", gzip(bytes));
  for (const char* name : {"plain", "packed"}) {
    CAPTURE(name);
    const IdxArray array = read_idx(folder / name, 3);
    CHECK(array.shape == std::vector<int64_t>{2, 1, 3});
    CHECK(std::string(array.bytes.begin(), array.bytes.end()) == "abcdef");
  }
}

TEST_CASE("idx: each kind of damage has its own message, with the file and what was expected") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const std::string good = header({6}) + "abcdef";
  const auto error = [&](const std::string& bytes) {
    put_file(path, bytes);
    const std::string message = error_of(path, 1);
    REQUIRE(message.starts_with(path + ": "));
    return message.substr(path.size() + 2);
  };
  CHECK(error("") == "is truncated at byte 0 of the file: expected 4 bytes of content, got 0");
  CHECK(error("\0\0\x08\x03"s + good.substr(4)) ==
        "wrong magic number at byte 0: expected 0x00000801 (idx, 1 dimensions), got 0x00000803");
  CHECK(error(good.substr(0, 6)) ==
        "is truncated at byte 6 of the file: expected 8 bytes of content, got 6");
  CHECK(error(good.substr(0, 10)) ==
        "is truncated at byte 10 of the file: expected 14 bytes of content, got 10");
  CHECK(error(header({1000000})) ==
        "shape (1000000) in the header does not fit a file of 8 bytes; it is truncated or damaged");
  CHECK(error(good + "gh") == "2 bytes of trailing garbage at byte 14");

  const std::string packed = gzip(good);
  CHECK(error(packed + "gh") == str("2 bytes of trailing garbage at byte ", packed.size()));
  CHECK(error(gzip(good + "gh")) == "expected 14 bytes of content, got more");
  CHECK(error(gzip(good.substr(0, 12))) ==
        str("is truncated at byte ", gzip(good.substr(0, 12)).size(),
            " of the file: expected 14 bytes of content, got 12"));
  std::string damaged = packed;
  damaged[packed.size() - 6] ^= 1;  // in the CRC
  CHECK(error(damaged).starts_with("damaged gzip data at byte "));
  for (size_t length = 2; length < packed.size(); ++length) {
    CAPTURE(length);
    CHECK(error(packed.substr(0, length)).starts_with("the gzip stream is truncated at byte "));
  }
}

TEST_CASE("idx: a missing file is named, with the hint") {
  const TemporaryFolder folder;
  CHECK(error_of(folder / "no/x", 1) ==
        str(folder / "no/x", ": cannot read: No such file or directory; a hint"));
  CHECK(error_of(folder.path(), 1) == str(folder.path(), ": cannot read: is not a file; a hint"));
}

}  // namespace vtrain
