#include "tensor/safetensors.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::f16,    DType::i8,
                          DType::u8,  DType::i32, DType::i64,  DType::boolean};

/// Any bits at all, NaNs included; 0 and 1 for bool.
Tensor with_bits(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  for (int64_t i = 0; i < t.bytes(); ++i) {
    t.raw()[i] = static_cast<std::byte>(dtype == DType::boolean ? i % 2 : 0xFF - 37 * i);
  }
  return t;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

NamedTensors small_content() {
  return {.tensors = {{"a.weight", from_values({2, 2}, {1, -2, 3.5, 0})},
                      {"b", from_values({3}, {1, 2, 3}, DType::u8)}},
          .metadata = {{"step", "17"}}};
}

std::string error_of(const std::string& path) {
  try {
    read_safetensors(path);
  } catch (const CheckpointError& e) {
    return e.what();
  }
  return "no error";
}

/// A file from a header, as others write them, without checksums.
std::string foreign(std::string_view header, std::string_view data) {
  uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  return bytes.append(header).append(data);
}

size_t files_in(const TemporaryFolder& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& f : std::filesystem::directory_iterator(folder.path())) ++count;
  return count;
}

}  // namespace

TEST_CASE("safetensors: every dtype, shape and metadata text comes back bit for bit") {
  const TemporaryFolder folder;
  NamedTensors content{
      .metadata = {{"arch", "{\"name\": \"x\"}"}, {"empty", ""}, {"utf8", "µ \n"}}};
  for (const DType dtype : kAll) {
    content.tensors[str("t.", name_of(dtype))] = with_bits({2, 3}, dtype);
    content.tensors[str("scalar.", name_of(dtype))] = with_bits({}, dtype);
    content.tensors[str("none.", name_of(dtype))] = with_bits({0, 3}, dtype);
  }
  content.tensors["checksum"] = ones({1});  // a name like the header's own fields
  write_safetensors(folder / "x", content);
  const NamedTensors back = read_safetensors(folder / "x");
  CHECK(back.metadata == content.metadata);
  CHECK(read_safetensors_metadata(folder / "x") == content.metadata);
  REQUIRE(back.tensors.size() == content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    CAPTURE(name);
    CHECK(same(back.tensors.at(name), tensor));
  }
}

TEST_CASE("safetensors: a file without tensors and metadata comes back") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {});
  const NamedTensors back = read_safetensors(folder / "x");
  CHECK(back.tensors.empty());
  CHECK(back.metadata.empty());
}

TEST_CASE("safetensors: a channels-last tensor is stored in logical order") {
  const TemporaryFolder folder;
  const Tensor x = from_values({1, 2, 1, 2}, {1, 2, 3, 4});
  write_safetensors(folder / "x", {.tensors = {{"x", x.channels_last()}}});
  CHECK(same(read_safetensors(folder / "x").tensors.at("x"), x));
}

TEST_CASE(
    "safetensors: the same content gives the same bytes, and the header is what others expect") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", small_content());
  write_safetensors(folder / "y", small_content());
  const std::string bytes = file_content(folder / "x");
  CHECK(bytes == file_content(folder / "y"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  const std::string header = bytes.substr(8, length);
  CHECK(header.front() == '{');
  CHECK(header.find(R"("a.weight":{"data_offsets":[0,16],"dtype":"F32","shape":[2,2]})") !=
        std::string::npos);
  CHECK(header.find(R"("b":{"data_offsets":[16,19],"dtype":"U8","shape":[3]})") !=
        std::string::npos);
  CHECK(bytes.size() == 8 + length + 19);
}

TEST_CASE("safetensors: a file of somebody else, in any order and without checksums, is read") {
  const TemporaryFolder folder;
  put_file(folder / "x", foreign(R"({"z":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}   )",
                                 "\x01\x02\x03"));
  const NamedTensors back = read_safetensors(folder / "x");
  CHECK(back.tensors.at("z").dtype() == DType::i8);
  CHECK(std::to_integer<int>(back.tensors.at("z").raw()[1]) == 2);
  CHECK(std::to_integer<int>(back.tensors.at("a").raw()[0]) == 3);
}

TEST_CASE("safetensors: a flip of any bit, or of any whole byte, is refused") {
  const TemporaryFolder folder;
  for (const NamedTensors& content : {small_content(), NamedTensors{}}) {
    write_safetensors(folder / "good", content);
    std::string bytes = file_content(folder / "good");
    for (size_t i = 0; i < bytes.size(); ++i) {
      const char old = bytes[i];
      for (const int flip : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
        bytes[i] = static_cast<char>(old ^ flip);
        put_file(folder / "bad", bytes);
        CAPTURE(i);
        CAPTURE(flip);
        CHECK_THROWS_AS(read_safetensors(folder / "bad"), CheckpointError);
      }
      bytes[i] = old;
    }
  }
}

TEST_CASE("safetensors: a file cut at any length, or with a byte more, is refused") {
  const TemporaryFolder folder;
  write_safetensors(folder / "good", small_content());
  const std::string bytes = file_content(folder / "good");
  for (size_t length = 0; length < bytes.size(); ++length) {
    put_file(folder / "bad", bytes.substr(0, length));
    CAPTURE(length);
    CHECK_THROWS_AS(read_safetensors(folder / "bad"), CheckpointError);
    CHECK_THROWS_AS(read_safetensors_metadata(folder / "bad"), CheckpointError);
  }
  put_file(folder / "bad", bytes + '\0');
  CHECK_THROWS_AS(read_safetensors(folder / "bad"), CheckpointError);
}

TEST_CASE("safetensors: damaged data is reported with the file and the tensor") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", small_content());
  std::string bytes = file_content(folder / "x");
  bytes.back() ^= 1;
  put_file(folder / "x", bytes);
  CHECK(error_of(folder / "x") ==
        str(folder / "x", ": tensor b: checksum does not match, its data is damaged"));
}

TEST_CASE("safetensors: headers that lie are refused, each with its reason") {
  const TemporaryFolder folder;
  const std::pair<std::string, std::string> cases[] = {
      {foreign("[1]", ""), "is not a JSON object"},
      {foreign("{", ""), "is not a JSON object"},
      {foreign(R"({"a":3})", ""), "tensor a: expected dtype, shape and two data_offsets"},
      {foreign(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "x"), "F8_E4M3"},
      {foreign(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})", "x"), "does not fit"},
      {foreign(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x"), "is no size"},
      {foreign(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", "x"), "is no size"},
      {foreign(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "x"),
       "leave the file's"},
      {foreign(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", "x"),
       "leave the file's"},
      {foreign(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", "x"), "no sizes"},
      // 2^32 * 2^32 elements wrap to 0 bytes in 64 bits.
      {foreign(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", ""),
       "does not fit"},
      {foreign(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xy"), "hole"},
      {foreign(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "xyz"),
       "overlap"},
      {foreign(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xy"), "expected"},
      {foreign(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"),
       "neither 0 nor 1"},
      {foreign(R"({"__metadata__":{"k":1}})", ""), "metadata k is not a text"},
      {std::string(8, '\xFF') + "{}", "header of 18446744073709551615 bytes in a file of 10"},
      {std::string("\x40\0\0\0\0\0\0\0{}", 10), "header of 64 bytes in a file of 10"},
  };
  for (const auto& [bytes, reason] : cases) {
    put_file(folder / "x", bytes);
    const std::string error = error_of(folder / "x");
    CAPTURE(error);
    CHECK(error.starts_with(folder / "x: "));
    CHECK(error.find(reason) != std::string::npos);
  }
}

TEST_CASE("safetensors: a missing file and a folder are checkpoint errors with the path") {
  const TemporaryFolder folder;
  CHECK(error_of(folder / "none") ==
        str(folder / "none", ": cannot open: No such file or directory"));
  CHECK(error_of(folder.path()) == str(folder.path(), ": is not a regular file"));
}

TEST_CASE("safetensors: what cannot be stored is refused before a file appears") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  CHECK_THROWS_WITH_AS(write_safetensors(path, {.metadata = {{"checksum.a", "1"}}}),
                       str(path, ": metadata key checksum.a is reserved").c_str(), IoError);
  CHECK_THROWS_WITH_AS(write_safetensors(path, {.tensors = {{"a", Tensor()}}}),
                       str(path, ": tensor a is undefined").c_str(), IoError);
  CHECK_THROWS_AS(write_safetensors(path, {.metadata = {{"a", "\xFF"}}}), IoError);
  CHECK(files_in(folder) == 0);
}

TEST_CASE("atomic file: writing replaces the old content and leaves no other file") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "x", "old and long");
  write_file_atomically(folder / "x", "new");
  CHECK(file_content(folder / "x") == "new");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: without a commit the old file stays and the temporary one goes") {
  const TemporaryFolder folder;
  put_file(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("new");
    CHECK(files_in(folder) == 2);
  }
  CHECK(file_content(folder / "x") == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE(
    "atomic file: a missing folder, a file as folder and a device are IoErrors with path and "
    "reason") {
  const TemporaryFolder folder;
  put_file(folder / "file", "");
  const auto message = [](const std::string& path) -> std::string {
    try {
      write_file_atomically(path, "x");
    } catch (const IoError& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(message(folder / "no/x") ==
        str(folder / "no/x", ": cannot create a file in its folder: No such file or directory"));
  CHECK(message(folder / "file/x") ==
        str(folder / "file/x", ": cannot create a file in its folder: Not a directory"));
  CHECK(message("/dev/null") ==
        "/dev/null: cannot write: it is there already and is no regular file");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  if (geteuid() == 0) {
    MESSAGE("skipped: root may write into a folder without write permission");
  } else {
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::remove);
    CHECK(message(folder / "x").ends_with("Permission denied"));
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
  }
}

TEST_CASE(
    "safetensors: a file that outgrows its limit is an IoError, and the old file still reads") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", small_content());
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto old_action = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, old.rlim_max};
  std::string error;
  setrlimit(RLIMIT_FSIZE, &small);  // nothing is printed while it holds: that could fail too
  try {
    write_safetensors(folder / "x", {.tensors = {{"big", zeros({100000})}}});
  } catch (const IoError& e) {
    error = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, old_action);
  CHECK(error == str(folder / "x", ": cannot write: File too large"));
  CHECK(files_in(folder) == 1);
  CHECK(read_safetensors(folder / "x").tensors.size() == 2);
}

}  // namespace vtrain
