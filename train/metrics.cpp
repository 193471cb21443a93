#include "train/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tensor/atomic_file.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

template <class T>
std::string shortest(T value) {
  std::array<char, 32> text = {};
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), result.ptr};
}

/// Quoted where CSV needs it (RFC 4180).
std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i ? "," : "") + cells[i];
  return line + '\n';
}

struct CsvCell {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(int64_t value) const { return shortest(value); }
  std::string operator()(double value) const { return shortest(value); }
  std::string operator()(const std::string& text) const { return csv_text(text); }
};

struct JsonValue {
  nlohmann::ordered_json operator()(std::monostate) const { return nullptr; }
  template <class T>
  nlohmann::ordered_json operator()(const T& value) const {
    return value;
  }
};

std::string header_of(const std::vector<std::string>& columns) { return csv_of({columns}); }

/// Is this line a whole row of a step before `step`?
bool is_before(std::string_view line, int64_t step) {
  const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return false;
  const auto found = row.find("step");
  return found != row.end() && found->is_number_integer() && found->get<int64_t>() < step;
}

}  // namespace

std::string csv_of(const std::vector<std::vector<std::string>>& rows) {
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::vector<std::string> cells;
    std::transform(row.begin(), row.end(), std::back_inserter(cells), csv_text);
    text += csv_line(cells);
  }
  return text;
}

EpochMetrics::EpochMetrics(std::filesystem::path file, std::vector<std::string> columns)
    : file_(std::move(file)), columns_(std::move(columns)), text_(header_of(columns_)) {}

void EpochMetrics::add(const Metrics& row) {
  std::vector<std::string> cells(columns_.size());
  for (const auto& [name, value] : row) {
    const auto column = std::find(columns_.begin(), columns_.end(), name);
    if (column == columns_.end()) throw Error(str("[metrics.csv] no column ", name));
    cells[static_cast<size_t>(column - columns_.begin())] = std::visit(CsvCell{}, value);
  }
  text_ += csv_line(cells);
  write_file_atomically(file_, text_);
}

void EpochMetrics::restore(std::string text) {
  const std::string header = header_of(columns_);
  if (!text.starts_with(header)) {
    throw CheckpointError(str(file_.filename().string(), ": expected columns ",
                              header.substr(0, header.size() - 1), ", got ",
                              text.substr(0, text.find('\n'))));
  }
  text_ = std::move(text);
  write_file_atomically(file_, text_);
}

StepMetrics::StepMetrics(std::filesystem::path file) : file_(std::move(file)) {}

void StepMetrics::add(int64_t step, const Metrics& row) {
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : row) line[name] = std::visit(JsonValue{}, value);
  // A name in another encoding must not end a training run.
  file_.append(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
}

void StepMetrics::drop_from(int64_t step) {
  const std::string before = read_file(file_.path());
  std::string kept;
  for (size_t begin = 0; begin < before.size();) {
    const size_t end = before.find('\n', begin);
    if (end == std::string::npos) break;  // cut short
    const std::string_view line(before.data() + begin, end - begin + 1);
    if (is_before(line, step)) kept += line;
    begin = end + 1;
  }
  write_file_atomically(file_.path(), kept);
  file_ = AppendFile(file_.path());  // the old descriptor is of the replaced file
}

}  // namespace vtrain
