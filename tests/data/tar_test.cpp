#include "data/tar.h"

#include <doctest/doctest.h>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/data/image_files.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

const TemporaryFolder& folder() {
  static const TemporaryFolder one;
  return one;
}

std::vector<TarEntry> index_of(const std::string& bytes) {
  put_file(folder() / "x.tar", bytes);
  return read_tar_index(RandomAccessFile(folder() / "x.tar"));
}

std::string error_of(const std::string& bytes) {
  try {
    index_of(bytes);
  } catch (const DataError& error) {
    const std::string message = error.what(), start = folder() / "x.tar: ";
    REQUIRE(message.starts_with(start));
    return message.substr(start.size());
  }
  return "no error";
}

const std::string kEnd(1024, '\0');

}  // namespace

TEST_CASE("tar: files and folders come in order, with the places of their contents") {
  const std::string bytes =
      tar_of({{"./a/", ""}, {"./a/1.txt", "one"}, {"b.txt", std::string(600, 'x')}});
  const std::vector<TarEntry> entries = index_of(bytes);
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].path == "a");
  CHECK(entries[0].is_folder);
  CHECK(entries[1].path == "a/1.txt");
  CHECK(bytes.substr(static_cast<size_t>(entries[1].offset), 3) == "one");
  CHECK(entries[2].bytes == 600);
  CHECK(bytes.substr(static_cast<size_t>(entries[2].offset), 600) == std::string(600, 'x'));
}

TEST_CASE("tar: names that do not fit a header: GNU's, pax, and ustar's prefix") {
  const std::string name = std::string(150, 'n') + "/1.jpg";
  const auto path_in = [&](const std::string& bytes) { return index_of(bytes + kEnd).at(0).path; };
  CHECK(path_in(tar_member("././@LongLink", name + '\0', 'L') +
                tar_member(name.substr(0, 100), "x", '0')) == name);
  const std::string record = str("path=", name, '\n');
  const std::string pax = str(record.size() + 4, ' ', record);
  CHECK(path_in(tar_member("PaxHeaders/1", pax, 'x') + tar_member("cut", "x", '0')) == name);
  std::string member = tar_member("1.jpg", "x", '0');
  member.replace(345, 6, "prefix");
  size_t sum = 8 * ' ';
  for (size_t i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? 0 : static_cast<unsigned char>(member[i]);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06zo", sum);
  member.replace(148, 7, std::string(digits, 7));
  CHECK(path_in(member) == "prefix/1.jpg");
}

TEST_CASE("tar: a long name is for the next member alone, and comments and links are passed over") {
  const std::vector<TarEntry> entries =
      index_of(tar_member("pax_global_header",
                          "52 comment=0123456789012345678901234567890123456789\n", 'g') +
               tar_member("l", "long/name.jpg", 'L') + tar_member("cut", "x", '0') +
               tar_member("link", "", '2') + tar_member("short.jpg", "yy", '0') + kEnd);
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].path == "long/name.jpg");
  CHECK(entries[1].path == "short.jpg");
  CHECK(entries[1].bytes == 2);
}

TEST_CASE("tar: a size in pax or in base 256 is the size") {
  const std::string pax = "10 size=3\n";
  CHECK(index_of(tar_member("p", pax, 'x') + tar_member("a", "abc", '0') + kEnd).at(0).bytes == 3);
  std::string member = tar_member("a", "abc", '0');
  member.replace(124, 12, std::string("\x80\0\0\0\0\0\0\0\0\0\0\x03", 12));
  size_t sum = 8 * ' ';
  for (size_t i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? 0 : static_cast<unsigned char>(member[i]);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06zo", sum);
  member.replace(148, 7, std::string(digits, 7));
  CHECK(index_of(member + kEnd).at(0).bytes == 3);
}

TEST_CASE("tar: a size below 0, beyond the archive or that is no number is refused") {
  const auto error_with_size = [](const std::string& size) {
    const std::string record = str("size=", size, '\n');
    const std::string pax = str(record.size() + (record.size() < 8 ? 2 : 3), ' ', record);
    return error_of(tar_member("PaxHeaders/1", pax, 'x') + tar_member("1.jpg", "x", '0') + kEnd);
  };
  CHECK(error_with_size("1") == "no error");
  for (const std::string size : {"-1", "-1024", "1k", ""}) {
    CAPTURE(size);
    CHECK(error_with_size(size).find("a pax header is damaged") != std::string::npos);
  }
  CHECK(error_with_size("9223372036854775807")
            .find("1.jpg is cut off: the archive is truncated, expected 9223372036854775807 bytes "
                  "of content, got 1536") != std::string::npos);
}

TEST_CASE("tar: an archive that is cut off anywhere is refused, at the byte where it stops") {
  const std::string whole = tar_of({{"a/", ""}, {"a/1", "one"}, {"a/2", std::string(700, '2')}});
  REQUIRE(error_of(whole) == "no error");
  int accepted = 0;
  for (size_t length = 0; length < whole.size(); length += 64) {
    accepted += error_of(whole.substr(0, length)) == "no error";
  }
  CHECK(accepted == 0);
  CHECK(
      error_of(whole.substr(0, 512 * 4)) ==
      "at byte 1536: a/2 is cut off: the archive is truncated, expected 700 bytes of content, got "
      "0");
  CHECK(error_of(whole.substr(0, whole.size() - 1024)) ==
        str("at byte ", whole.size() - 1024,
            ": the archive is truncated: expected a header or the two zero blocks of its end"));
}

TEST_CASE("tar: what is no tar archive, compressed, or damaged is told apart") {
  CHECK(error_of(std::string(1024, 'x')) == "at byte 0: is no tar archive");
  CHECK(error_of("\x1F\x8B" + std::string(1024, 'x')).find("is compressed") != std::string::npos);
  std::string bytes = tar_of({{"a", "one"}, {"b", "two"}});
  bytes[1024 + 3] ^= 1;
  CHECK(error_of(bytes) == "at byte 1024: the header is damaged: its checksum is wrong");
}

}  // namespace vtrain
