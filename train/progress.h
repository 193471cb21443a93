#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace vtrain {

/// What is known after a step.
struct StepInfo {
  std::string phase;                  // "" in a run without phases
  int64_t epoch = 1, epochs = 1;      // of the phase; the first is 1
  int64_t step = 0, steps = 0;        // done and in all, in this epoch
  std::optional<double> eta_seconds;  // of the whole run
  double loss = 0;                    // average since the epoch began
  double images_per_second = 0;
  double data_wait = 0;  // share of the time spent waiting for data, in [0, 1]
  double lr = 0;
  std::optional<double> grad_norm;
  int64_t memory_bytes = 0;
  std::string tail;  // "keep 0.70  macs 2.9G"; what compression has to say
};

/// "sparse  epoch 3/10  step  128/422  30%  eta 1m12s  loss 0.3412  2310 img/s  wait 2%  lr 0.00048
/// grad 1.24  mem 412 MiB keep 0.70", on one line. Numbers that run are padded, so that lines stand
/// under each other.
std::string step_line(const StepInfo& info);

struct ProgressOptions {
  bool quiet = false;     // nothing but result()
  bool terminal = false;  // a bar that is drawn over, else lines
  bool color = false;
  int width = 80;  // of the terminal
  int64_t every =
      50;  // without a terminal: a line every so many steps (log.every), and at the end of an epoch
  std::chrono::milliseconds redraw{100};  // the bar is drawn at most so often
};

/// What fits the file behind `descriptor`: is it a terminal, how wide; no colour if NO_COLOR is set
/// to anything (no-color.org) or TERM is dumb.
ProgressOptions progress_options(int descriptor, bool quiet, int64_t every);

/// Shows how training goes.
class Progress {
 public:
  /// `out` outlives it.
  Progress(std::ostream& out, ProgressOptions options);
  ~Progress();  // ends the bar's line, so that what is printed next starts on one of its own
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const StepInfo& info);
  /// Something worth a line of its own, printed above the bar: the accuracy of an epoch, a phase
  /// that begins, a warning.
  void note(std::string_view line);
  /// The final table: printed even when quiet.
  void result(std::string_view text);

 private:
  void draw(const StepInfo& info);
  void erase();

  std::ostream& out_;
  ProgressOptions options_;
  int drawn_ = 0;  // columns of the bar that is on the screen, 0 if none is
  std::chrono::steady_clock::time_point last_draw_{};
};

}  // namespace vtrain
