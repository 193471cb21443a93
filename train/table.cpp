#include "train/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

bool starts_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

std::string padded(const std::string& text, int width, Align align) {
  const std::string space(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
  return align == Align::kLeft ? text + space : space + text;
}

/// `value` scaled by powers of `base` until it is below that base once rounded as it is printed.
std::pair<double, size_t> scaled(double value, double base, size_t steps) {
  size_t step = 0;
  while (step + 1 < steps && std::abs(value) >= base - 0.05) {
    value /= base;
    ++step;
  }
  return {value, step};
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add_row(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) {
    throw Error(str("[table] row: expected ", columns_.size(), " cells, got ", cells.size()));
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<int> widths;
  std::vector<std::string> titles, rules;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i]));
    widths.push_back(width);
    titles.push_back(columns_[i].title);
    rules.emplace_back(static_cast<size_t>(width), '-');
  }
  std::string out;
  const auto print = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      line += (i ? "  " : "") + padded(cells[i], widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  print(titles);
  print(rules);
  for (const auto& row : rows_) print(row);
  return out;
}

std::string with_thousands(int64_t count) {
  std::string text = std::to_string(count);
  const int first_digit = count < 0 ? 1 : 0;
  for (int i = static_cast<int>(text.size()) - 3; i > first_digit; i -= 3) {
    text.insert(static_cast<size_t>(i), 1, ',');
  }
  return text;
}

std::string human_count(double count) {
  constexpr std::array kUnits = {"", "K", "M", "G", "T", "P"};
  const auto [value, step] = scaled(count, 1000, kUnits.size());
  const bool whole = step == 0 && value == std::floor(value);
  return fmt::format("{:.{}f}{}", value, whole ? 0 : 1, kUnits[step]);
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  const auto [value, step] = scaled(bytes, 1024, kUnits.size());
  const bool whole = step == 0 || std::abs(value) >= 99.95;  // "1.5 GiB", but "412 MiB"
  return fmt::format("{:.{}f} {}", value, whole ? 0 : 1, kUnits[step]);
}

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 0.9995e-3) return fmt::format("{:.0f}us", seconds * 1e6);
  if (seconds < 0.9995) return fmt::format("{:.3g}ms", seconds * 1e3);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

std::string fixed(double value, int decimals) { return fmt::format("{:.{}f}", value, decimals); }

int display_width(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), starts_code_point));
}

std::string_view clipped(std::string_view text, int width) {
  int seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (starts_code_point(text[i]) && ++seen > width) return text.substr(0, i);
  }
  return text;
}

}  // namespace vtrain
