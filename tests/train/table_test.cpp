#include "train/table.h"

#include <doctest/doctest.h>

#include <limits>

#include "tensor/error.h"

namespace vtrain {
namespace {

TEST_CASE(
    "table: columns are as wide as their widest cell, aligned as asked, without trailing space") {
  Table table({{"network", Align::kLeft}, {"top-1"}, {"params"}, {"note", Align::kLeft}});
  table.add_row({"dense", "87.12", with_thousands(991882), ""});
  table.add_row({"sparse, compact", "9.5", with_thousands(-1000), "ok"});
  CHECK(table.text() ==
        "network          top-1   params  note\n"
        "---------------  -----  -------  ----\n"
        "dense            87.12  991,882\n"
        "sparse, compact    9.5   -1,000  ok\n");
}

TEST_CASE("table: a letter of several bytes takes one column") {
  Table table({{"a", Align::kLeft}, {"b"}});
  table.add_row({"\u00e9\u00e9", "1"});
  table.add_row({"xx", "2"});
  CHECK(table.text() == "a   b\n--  -\n\u00e9\u00e9  1\nxx  2\n");
  CHECK(display_width("\u00e9\u00e9") == 2);
  CHECK(clipped("\u00e9\u00e9\u00e9", 2) == "\u00e9\u00e9");
  CHECK(clipped("ab", 5) == "ab");
}

TEST_CASE("table: a row with too few cells is an error") {
  Table table({{"a"}, {"b"}});
  CHECK_THROWS_WITH_AS(table.add_row({"1"}), "[table] row: expected 2 cells, got 1", Error);
}

TEST_CASE("table: thousands are separated from the right, also of negative numbers") {
  CHECK(with_thousands(0) == "0");
  CHECK(with_thousands(999) == "999");
  CHECK(with_thousands(1000) == "1,000");
  CHECK(with_thousands(-999) == "-999");
  CHECK(with_thousands(-123456) == "-123,456");
  CHECK(with_thousands(1234567) == "1,234,567");
}

TEST_CASE(
    "table: counts and bytes get the unit that keeps them short, also where rounding carries") {
  CHECK(human_count(12) == "12");
  CHECK(human_count(999) == "999");
  CHECK(human_count(1000) == "1.0K");
  CHECK(human_count(991882) == "991.9K");
  CHECK(human_count(999960) == "1.0M");  // not 1000.0K
  CHECK(human_count(2.94e9) == "2.9G");
  CHECK(human_bytes(80) == "80 B");
  CHECK(human_bytes(1536) == "1.5 KiB");
  CHECK(human_bytes(412.3 * 1024 * 1024) == "412 MiB");
  CHECK(human_bytes(3.0 * 1024 * 1024 * 1024) == "3.0 GiB");
}

TEST_CASE("table: durations read as people say them") {
  CHECK(human_seconds(310e-6) == "310us");
  CHECK(human_seconds(0.0125) == "12.5ms");
  CHECK(human_seconds(0.9999) == "1s");
  CHECK(human_seconds(41.4) == "41s");
  CHECK(human_seconds(59.7) == "1m00s");
  CHECK(human_seconds(187) == "3m07s");
  CHECK(human_seconds(3720) == "1h02m");
  CHECK(human_seconds(std::numeric_limits<double>::infinity()) == "?");
}

}  // namespace
}  // namespace vtrain
