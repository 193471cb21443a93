#include "train/progress.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>

namespace vtrain {
namespace {
using std::chrono::milliseconds;

StepInfo info_at(int64_t step) {
  return {.phase = "sparse",
          .epoch = 3,
          .epochs = 10,
          .step = step,
          .steps = 422,
          .eta_seconds = 72.0,
          .loss = 0.34118,
          .images_per_second = 2310.4,
          .data_wait = 0.021,
          .lr = 4.8e-4,
          .grad_norm = 1.239,
          .memory_bytes = int64_t{412} << 20,
          .tail = "keep 0.70"};
}

TEST_CASE("progress: the step line says everything in the order users know") {
  CHECK(step_line(info_at(128)) ==
        "sparse  epoch  3/10  step 128/422   30%  eta  1m12s  loss 0.3412   2310 img/s  wait  2%  "
        "lr 0.00048  grad 1.24  mem 412 MiB  keep 0.70");
}

TEST_CASE("progress: what is not known is left out of the step line") {
  StepInfo info = info_at(9);
  info.phase = info.tail = "";
  info.eta_seconds = info.grad_norm = std::nullopt;
  CHECK(step_line(info) ==
        "epoch  3/10  step   9/422    2%  loss 0.3412   2310 img/s  wait  2%  lr 0.00048  mem 412 "
        "MiB");
}

TEST_CASE("progress: 100% is said at the last step and not before") {
  StepInfo info = info_at(9999);
  info.steps = 10000;
  CHECK(step_line(info).find(" 99%") != std::string::npos);
  info.step = 10000;
  CHECK(step_line(info).find("100%") != std::string::npos);
}

TEST_CASE("progress: a pipe gets a plain line every so many steps and at the end of the epoch") {
  std::ostringstream out;
  {
    Progress progress(out, {.every = 200});
    for (int64_t step = 1; step <= 422; ++step) progress.step(info_at(step));
    progress.note("done");
  }
  CHECK(out.str() == step_line(info_at(200)) + "\n" + step_line(info_at(400)) + "\n" +
                         step_line(info_at(422)) + "\ndone\n");
}

TEST_CASE("progress: quiet prints the result alone") {
  for (const bool terminal : {false, true}) {
    CAPTURE(terminal);
    std::ostringstream out;
    {
      Progress progress(out, {.quiet = true, .terminal = terminal, .every = 1});
      progress.step(info_at(422));
      progress.note("a note");
      progress.result("table\n");
    }
    CHECK(out.str() == "table\n");
  }
}

TEST_CASE("progress: on a terminal one line is drawn over, never as wide as the terminal") {
  std::ostringstream out;
  {
    Progress progress(out, {.terminal = true, .width = 40, .redraw = milliseconds(0)});
    progress.step(info_at(1));
    progress.step(info_at(2));
  }
  CHECK(out.str() == "\r" + step_line(info_at(1)).substr(0, 39) + "\r" +
                         step_line(info_at(2)).substr(0, 39) + "\n");
}

TEST_CASE(
    "progress: where there is room a bar stands before the line, green if colour is allowed") {
  for (const bool color : {false, true}) {
    CAPTURE(color);
    std::ostringstream out;
    {
      Progress progress(out, {.terminal = true, .color = color, .width = 200});
      progress.step(info_at(211));
    }
    const std::string on = color ? "\x1b[32m" : "", off = color ? "\x1b[0m" : "";
    CHECK(out.str() ==
          "\r[" + on + "========" + off + "        ] " + step_line(info_at(211)) + "\n");
  }
}

TEST_CASE("progress: a shorter line wipes the rest of the longer one before it, a note wipes all") {
  std::ostringstream out;
  StepInfo shorter = info_at(2);
  shorter.tail = "";
  const std::string longer_line = step_line(info_at(1)), shorter_line = step_line(shorter);
  Progress progress(out, {.terminal = true, .width = 140, .redraw = milliseconds(0)});
  progress.step(info_at(1));
  progress.step(shorter);
  progress.note("note");
  CHECK(out.str() == "\r" + longer_line + "\r" + shorter_line +
                         std::string(longer_line.size() - shorter_line.size(), ' ') + "\r" +
                         std::string(shorter_line.size(), ' ') + "\rnote\n");
}

TEST_CASE("progress: the bar is not redrawn more often than asked, but the epoch's end is drawn") {
  std::ostringstream out;
  Progress progress(out, {.terminal = true, .width = 60, .redraw = milliseconds(3600 * 1000)});
  for (int64_t step = 1; step <= 422; ++step) progress.step(info_at(step));
  const std::string text = out.str();
  CHECK(std::count(text.begin(), text.end(), '\r') == 2);
  CHECK(text.find("422/422") != std::string::npos);
}

TEST_CASE(
    "progress: a pipe is no terminal; a terminal has colour unless NO_COLOR or TERM forbid it") {
  std::array<int, 2> ends = {};
  REQUIRE(pipe(ends.data()) == 0);
  const ProgressOptions piped = progress_options(ends[1], false, 7);
  CHECK_FALSE(piped.terminal);
  CHECK_FALSE(piped.color);
  CHECK(piped.every == 7);
  close(ends[0]);
  close(ends[1]);

  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
    return;  // no pseudo-terminals here
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  CHECK(progress_options(terminal, false, 50).color);
  setenv("NO_COLOR", "1", 1);
  CHECK(progress_options(terminal, false, 50).terminal);
  CHECK_FALSE(progress_options(terminal, false, 50).color);
  setenv("TERM", "dumb", 1);
  CHECK_FALSE(progress_options(terminal, false, 50).terminal);
  unsetenv("NO_COLOR");
  close(terminal);
  close(master);
}

}  // namespace
}  // namespace vtrain
