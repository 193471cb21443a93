#include "tensor/choices.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "tensor/atomic_file.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// Best of a few runs after one that warms up: noise only ever adds.
double best_seconds(const std::function<void(int)>& run, int implementation) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRuns = 3;
  run(implementation);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRuns; ++i) {
    const auto begin = Clock::now();
    run(implementation);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

/// An implementation must win clearly to replace the one before it, so that two measurements of
/// nearly equal ones agree.
constexpr double kClearly = 0.95;

}  // namespace

Choices& Choices::of_process() {
  static Choices choices;
  return choices;
}

int Choices::pick(const std::string& key, int count, const std::function<void(int)>& run) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = table_.find(key);
    if (found != table_.end() && found->second < count) return found->second;
    if (!is_measuring_) return 0;
  }
  int chosen = 0;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < count; ++i) {
    const double seconds = best_seconds(run, i);
    if (seconds < best * kClearly) {
      best = seconds;
      chosen = i;
    }
  }
  const std::lock_guard lock(mutex_);
  table_[key] = chosen;
  return chosen;
}

void Choices::set_measuring(bool is_on) {
  const std::lock_guard lock(mutex_);
  is_measuring_ = is_on;
}

Choices::Table Choices::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

void Choices::add(const Table& table) {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, value] : table) table_[key] = value;
}

void Choices::clear() {
  const std::lock_guard lock(mutex_);
  table_.clear();
}

std::string Choices::text_of(const Table& table) {
  std::string text;
  for (const auto& [key, index] : table) text += str(index, '\t', key, '\n');
  return text;
}

Choices::Table Choices::from_text(const std::string& text) {
  Table table;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    int index = -1;
    std::string key;
    if (!(fields >> index) || !std::getline(fields >> std::ws, key) || index < 0)
      throw CheckpointError(str("measured choices: expected an index and a key, got ", line));
    table[key] = index;
  }
  return table;
}

// A line of identity, then the table's text.
Choices::Table Choices::read(const std::string& path, const std::string& identity) {
  std::ifstream file(path);
  if (!file) return {};
  std::string line, rest;
  if (!std::getline(file, line) || line != identity) {
    throw Error(str(path, ": expected measured choices of ", identity, ", got ", line));
  }
  std::getline(file, rest, '\0');
  try {
    return from_text(rest);
  } catch (const Error& error) {
    throw Error(str(path, ": ", error.what()));
  }
}

void Choices::write(const std::string& path, const std::string& identity, const Table& table) {
  write_file_atomically(path, str(identity, '\n', text_of(table)));
}

}  // namespace vtrain
