#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "train/files.h"

namespace vtrain {

/// A value of a metric; monostate is "none", an empty cell or null.
using MetricValue = std::variant<std::monostate, int64_t, double, std::string>;
using Metrics = std::vector<std::pair<std::string, MetricValue>>;

/// Rows as CSV: cells are quoted where it needs that (RFC 4180), every line ends in a newline.
std::string csv_of(const std::vector<std::vector<std::string>>& rows);

/// metrics.csv: a row per epoch. It holds no times, rates or memory, so a run that was killed and
/// resumed ends in the same bytes as one that was not. All text so far is kept here and goes into
/// checkpoints; the file is only its image.
class EpochMetrics {
 public:
  /// Touches no file yet: on resume `restore` comes next.
  EpochMetrics(std::filesystem::path file, std::vector<std::string> columns);

  /// Adds a row and replaces the file, synced. Columns that `row` does not name stay empty; a name
  /// that is no column is an Error. Numbers are in their shortest form that reads back to the same
  /// value. Throws IoError.
  void add(const Metrics& row);

  /// The header and all rows.
  const std::string& text() const { return text_; }
  /// Goes back to a text() stored before, in memory and on disk: rows written after that checkpoint
  /// vanish. Throws CheckpointError if its columns are others, IoError.
  void restore(std::string text);

 private:
  std::filesystem::path file_;
  std::vector<std::string> columns_;
  std::string text_;  // starts with the header line
};

/// metrics.jsonl: a row per logged step, with times and rates; it only grows.
class StepMetrics {
 public:
  /// Throws IoError if the file cannot be made or opened.
  explicit StepMetrics(std::filesystem::path file);

  /// Appends {"step": step, ...row}, in that order. A number that is not finite is written as null:
  /// JSON has no other word.
  void add(int64_t step, const Metrics& row);
  /// On resume: drops the rows with step >= `step`, which are about to be written again, and a line
  /// that the death of the process cut short.
  void drop_from(int64_t step);

 private:
  AppendFile file_;
};

}  // namespace vtrain
