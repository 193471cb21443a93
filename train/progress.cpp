#include "train/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ostream>

#include "train/table.h"

namespace vtrain {
namespace {

constexpr int kBarCells = 16;

double share_done(const StepInfo& info) {
  return info.steps > 0 ? static_cast<double>(info.step) / static_cast<double>(info.steps) : 0;
}

bool is_set(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

int terminal_width(int descriptor) {
  winsize size = {};
  const bool known = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : ProgressOptions{}.width;
}

}  // namespace

std::string step_line(const StepInfo& info) {
  std::string line;
  const auto add = [&line](const std::string& part) {
    if (!part.empty()) line += (line.empty() ? "" : "  ") + part;
  };
  const std::string epochs = std::to_string(info.epochs), steps = std::to_string(info.steps);
  // Rounded down: 100% is said when all is done.
  const int percent = static_cast<int>(100 * share_done(info));
  add(info.phase);
  add(fmt::format("epoch {:>{}}/{}", info.epoch, epochs.size(), epochs));
  add(fmt::format("step {:>{}}/{}", info.step, steps.size(), steps));
  add(fmt::format("{:>3}%", percent));
  if (info.eta_seconds) add(fmt::format("eta {:>6}", human_seconds(*info.eta_seconds)));
  add(fmt::format("loss {:.4f}", info.loss));
  add(fmt::format("{:>5.0f} img/s", info.images_per_second));
  add(fmt::format("wait {:>2.0f}%", 100 * info.data_wait));
  add(fmt::format("lr {:.3g}", info.lr));
  if (info.grad_norm) add(fmt::format("grad {:.3g}", *info.grad_norm));
  add("mem " + human_bytes(static_cast<double>(info.memory_bytes)));
  add(info.tail);
  return line;
}

ProgressOptions progress_options(int descriptor, bool quiet, int64_t every) {
  ProgressOptions options{.quiet = quiet, .every = every};
  const char* const term = std::getenv("TERM");
  const bool dumb = term != nullptr && std::string_view(term) == "dumb";
  options.terminal = isatty(descriptor) == 1 && !dumb;
  options.color = options.terminal && !is_set("NO_COLOR");
  if (options.terminal) options.width = terminal_width(descriptor);
  return options;
}

Progress::Progress(std::ostream& out, ProgressOptions options) : out_(out), options_(options) {}

Progress::~Progress() {
  if (drawn_ > 0) out_ << '\n' << std::flush;
}

void Progress::step(const StepInfo& info) {
  if (options_.quiet) return;
  const bool epoch_ends = info.step == info.steps;
  if (!options_.terminal) {
    if (info.step % options_.every == 0 || epoch_ends)
      out_ << step_line(info) << '\n' << std::flush;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (!epoch_ends && drawn_ > 0 && now - last_draw_ < options_.redraw) return;
  last_draw_ = now;
  draw(info);
}

void Progress::draw(const StepInfo& info) {
  // A line as wide as the terminal would wrap, and could not be drawn over.
  const int room = options_.width - 1;
  const std::string line = step_line(info);
  const bool has_bar = display_width(line) + kBarCells + 3 <= room;  // the numbers matter more
  const std::string_view shown = clipped(line, room);
  const int columns = display_width(shown) + (has_bar ? kBarCells + 3 : 0);
  const auto cells = [](int count, char c) { return std::string(static_cast<size_t>(count), c); };
  out_ << '\r';
  if (has_bar) {
    const int filled = static_cast<int>(kBarCells * share_done(info));
    out_ << '[' << (options_.color ? "\x1b[32m" : "") << cells(filled, '=')
         << (options_.color ? "\x1b[0m" : "") << cells(kBarCells - filled, ' ') << "] ";
  }
  out_ << shown << cells(std::max(0, drawn_ - columns), ' ') << std::flush;
  drawn_ = columns;
}

void Progress::erase() {
  if (drawn_ == 0) return;
  out_ << '\r' << std::string(static_cast<size_t>(drawn_), ' ') << '\r';
  drawn_ = 0;
}

void Progress::note(std::string_view line) {
  if (options_.quiet) return;
  erase();
  out_ << line << '\n' << std::flush;
}

void Progress::result(std::string_view text) {
  erase();
  out_ << text << std::flush;
}

}  // namespace vtrain
