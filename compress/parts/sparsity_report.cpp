#include "compress/parts/sparsity_report.h"

#include <cstdio>

#include "compress/parts/mask.h"

namespace vtrain {
namespace {

std::string fixed_text(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string percent(int64_t part, int64_t whole) {
  return fixed_text(100.0 * static_cast<double>(part) / static_cast<double>(whole), 2) + " %";
}

}  // namespace

int64_t bitmap_bytes(int64_t n, int64_t nonzero) { return (n + 7) / 8 + 4 * nonzero; }

void report_sparsity(Run& run, const std::vector<PrunableWeight>& weights) {
  int64_t size = 0, nonzero = 0, bytes = 0;
  std::string layers;
  for (const PrunableWeight& w : weights) {
    const int64_t n = w.weight.value().numel(), own = count_nonzero(w.weight.value());
    size += n;
    nonzero += own;
    bytes += bitmap_bytes(n, own);
    layers += str(layers.empty() ? "" : ", ", w.layer, ' ', percent(n - own, n));
  }
  std::string text = str(percent(size - nonzero, size), " of ", size, " prunable weights");
  if (nonzero > 0) {
    text += str(" (compression ",
                fixed_text(static_cast<double>(size) / static_cast<double>(nonzero), 1),
                "x, index storage not counted)");
  }
  run.report("zeros", text);
  run.report("zeros by layer", layers);
  run.report("bytes", str("the file stays dense: ", 4 * size,
                          " for these weights; as bitmaps and "
                          "nonzeros they would be ",
                          bytes));
}

void report_dead_units(Run& run, const RemovedUnits& units) {
  std::string text = str(units.removed, " without readers or inputs cut");
  if (units.removed > 0) text += str(", logits moved by ", units.max_rel, " at most");
  if (units.kept > 0)
    text += str("; ", units.kept, " without inputs stay: a constant behind padding");
  run.report("dead units", text);
}

}  // namespace vtrain
