#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace vtrain {

/// Choices among implementations that compute the same thing, by what this machine measures: for a
/// shape, oneDNN's convolution, its matmul, or a kernel of our own. Results may differ in their
/// last bits, so a run makes all its choices before its first step, keeps them with its
/// checkpoints, and takes them back on resume.
///
/// One table serves the process, as the primitives of oneDNN do. Functions may be called from
/// several threads.
class Choices {
 public:
  using Table = std::map<std::string, int>;  // key -> index of the chosen implementation

  static Choices& of_process();

  /// Index in [0, count) of the implementation to run for `key`, which names op, shape, dtype and
  /// threads. A known key is answered from the table. An unknown one is measured if measuring is
  /// on: run(i) must execute implementation i, repeatedly. Otherwise the answer is 0, which is
  /// therefore what is best without knowledge; it is not remembered.
  int pick(const std::string& key, int count, const std::function<void(int)>& run);

  void set_measuring(bool is_on);
  Table table() const;
  /// Adds to what is known; entries of `table` win.
  void add(const Table& table);
  void clear();

  /// A line "index<tab>key" per entry, and back. The second throws CheckpointError.
  static std::string text_of(const Table& table);
  static Table from_text(const std::string& text);

  /// Table files are kept per chip, threads, instruction level and library version: `identity`
  /// names these. Reading a missing file gives an empty table; one that cannot be read is an Error
  /// that says so.
  static Table read(const std::string& path, const std::string& identity);
  static void write(const std::string& path, const std::string& identity, const Table& table);

 private:
  mutable std::mutex mutex_;
  Table table_;
  bool is_measuring_ = false;
};

}  // namespace vtrain
