#include "train/tensorboard.h"

#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {
using doctest::Approx;
namespace fs = std::filesystem;

template <class T>
T take(std::string_view& bytes) {
  REQUIRE(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

/// A protobuf message by field number: integers and floats as their bits, the rest as bytes. Enough
/// for messages in which no field repeats.
struct Message {
  std::map<int, uint64_t> numbers;
  std::map<int, std::string> texts;
};

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<unsigned char>(bytes);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
}

Message parse(std::string_view bytes) {
  Message message;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    const int number = static_cast<int>(key >> 3U);
    switch (key & 7U) {
      case 0:
        message.numbers[number] = take_varint(bytes);
        break;
      case 1:
        message.numbers[number] = take<uint64_t>(bytes);
        break;
      case 5:
        message.numbers[number] = take<uint32_t>(bytes);
        break;
      case 2: {
        const uint64_t size = take_varint(bytes);
        REQUIRE(size <= bytes.size());
        message.texts[number] = bytes.substr(0, size);
        bytes.remove_prefix(size);
        break;
      }
      default:
        FAIL("unknown wire type");
    }
  }
  return message;
}

/// The events of a file, every CRC checked.
std::vector<Message> events_of(const fs::path& file) {
  const std::string content = read_file(file);
  std::string_view bytes = content;
  std::vector<Message> events;
  while (!bytes.empty()) {
    const std::string_view length_bytes = bytes.substr(0, 8);
    const auto length = take<uint64_t>(bytes);
    CHECK(take<uint32_t>(bytes) == masked_crc32c(length_bytes));
    REQUIRE(length <= bytes.size());
    const std::string_view payload = bytes.substr(0, length);
    bytes.remove_prefix(length);
    CHECK(take<uint32_t>(bytes) == masked_crc32c(payload));
    events.push_back(parse(payload));
  }
  return events;
}

TEST_CASE("tensorboard: crc32c gives the values of RFC 3720 B.4") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xE3069283U);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAU);
  CHECK(crc32c(std::string(32, '\xFF')) == 0x62A8AB43U);
}

TEST_CASE("tensorboard: a file reads back as its version and one event per scalar") {
  const TemporaryFolder folder;
  EventWriter writer(folder / "tb");
  const std::string long_tag(200, 'x');  // its length takes two bytes of varint
  writer.scalar("train/loss", 300, 0.25);
  writer.scalar(long_tag, int64_t{1} << 40, -1e-3);
  CHECK(writer.file().filename().string().find("tfevents") != std::string::npos);

  const std::vector<Message> events = events_of(writer.file());
  REQUIRE(events.size() == 3);
  CHECK(events[0].texts.at(3) == "brain.Event:2");
  const auto check = [](const Message& event, const std::string& tag, uint64_t step, float value) {
    CHECK(event.numbers.at(2) == step);
    CHECK(std::bit_cast<double>(event.numbers.at(1)) > 1.6e9);  // seconds since 1970
    const Message scalar = parse(parse(event.texts.at(5)).texts.at(1));
    CHECK(scalar.texts.at(1) == tag);
    CHECK(std::bit_cast<float>(static_cast<uint32_t>(scalar.numbers.at(2))) == value);
  };
  check(events[1], "train/loss", 300, 0.25F);
  check(events[2], long_tag, uint64_t{1} << 40U, -1e-3F);
}

TEST_CASE("tensorboard: after a resume a second file voids the steps from there on") {
  const TemporaryFolder folder;
  const EventWriter first(folder.path());
  const EventWriter second(folder.path(), /*first_step=*/120);
  CHECK(first.file() != second.file());
  CHECK(events_of(first.file()).size() == 1);
  const std::vector<Message> events = events_of(second.file());
  REQUIRE(events.size() == 2);
  CHECK(events[1].numbers.at(2) == 120);
  CHECK(parse(events[1].texts.at(7)).numbers.at(1) == 1);  // SessionLog.START
}

TEST_CASE("tensorboard: a folder that cannot be made is named") {
  const TemporaryFolder folder;
  put_file(folder / "tb", "");
  CHECK_THROWS_AS(EventWriter(folder / "tb/x"), IoError);
}

}  // namespace
}  // namespace vtrain
