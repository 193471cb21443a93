#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vtrain {

enum class Align { kLeft, kRight };

/// A table for the terminal: a line of titles, a rule, the rows; two spaces between columns, no
/// spaces at a line's end.
///     network       top-1   params
///     ------------  -----  -------
///     dense         87.12  991,882
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kRight;
  };
  explicit Table(std::vector<Column> columns);

  /// One cell per column, else Error; "" leaves a cell empty.
  void add_row(std::vector<std::string> cells);
  std::string text() const;  // every line ends in a newline

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

std::string with_thousands(int64_t count);  // "1,234,567"
std::string human_count(
    double count);  // "2.9G", "991.9K", "12": three or four digits, powers of 1000
std::string human_bytes(double bytes);          // "412 MiB", "1.5 GiB", "80 B": powers of 1024
std::string human_seconds(double seconds);      // "1h02m", "3m07s", "41s", "12.5ms", "310us"
std::string fixed(double value, int decimals);  // "0.70"; "nan" and "inf" as they are

/// Columns that a UTF-8 text takes on a terminal, taking each code point for one.
int display_width(std::string_view text);
/// Its first `width` code points.
std::string_view clipped(std::string_view text, int width);

}  // namespace vtrain
