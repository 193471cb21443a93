// Methods together for longer: `./dev test --full` trains every pair of the sixteen that is legal,
// in one phase and one behind the other, and every combination of more, on real images, and writes
// what came out to compositions.md in the build folder; docs/results/ keeps it. tests/composition.h
// says what is checked of each run.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/composition.h"
#include "tests/cutting.h"

namespace vtrain {
namespace {

std::string percent(double x) {
  char text[20];
  std::snprintf(text, sizeof(text), "%.1f", x);
  return text;
}

struct Worst {
  double masked_compact = 0;
  int64_t plans = 0, refused = 0, resumed = 0;
  void add(const LongRun& run) {
    masked_compact = std::max(masked_compact, run.masked_compact);
    resumed += run.resumed;
    ++plans;
  }
};

/// The cell of a plan: its accuracy; "" if it is refused in the first phase, "-" behind another.
std::string cell(const MethodPlan& plan, TinyModel model, Worst& worst) {
  CAPTURE(text_of(plan));
  if (!long_refusal_of(plan, model).empty()) {
    ++worst.refused;
    return "";
  }
  try {
    const LongRun run = train_for_long(plan, model);
    worst.add(run);
    return percent(run.top1_percent);
  } catch (const RecipeError&) {  // composition_test.cpp knows which and why
    ++worst.refused;
    return "-";
  }
}

void write_head(std::ofstream& table, const char* corner, const std::vector<std::string>& names) {
  std::string line = std::string("| ") + corner + " |", rule = "|---|";
  for (const std::string& name : names) {
    line += " " + name + " |";
    rule += "---|";
  }
  table << line << "\n" << rule << "\n";
}

TEST_CASE(
    "composition: pairs and more train for long on real images, and come out right (--full)") {
  if (!is_full()) {
    MESSAGE("skipped: ./dev test --full runs it");
    return;
  }
  std::ofstream table(std::string(VTRAIN_BINARY_DIR) + "/compositions.md");
  Worst worst;
  for (const TinyModel model : {TinyModel::kCnn, TinyModel::kVit}) {
    const std::vector<std::string> names = long_methods(model);
    table << (model == TinyModel::kCnn ? "## Convolutions" : "## Transformer")
          << "\n\nDense: " << percent(dense_top1_percent(model)) << " %.\n\n### In one phase\n\n";
    write_head(table, "", names);
    for (size_t a = 0; a < names.size(); ++a) {
      table << "| " << names[a] << " |";
      for (size_t b = 0; b < names.size(); ++b) {
        const MethodPlan plan = a == b ? MethodPlan{{names[a]}} : MethodPlan{{names[a], names[b]}};
        table << " " << (b < a ? "" : cell(plan, model, worst)) << " |" << std::flush;
      }
      table << "\n";
    }
    table << "\n### One behind the other\n\n";
    write_head(table, "first, then", names);
    for (const std::string& a : names) {
      table << "| " << a << " |";
      for (const std::string& b : names)
        table << " " << cell({{a}, {b}}, model, worst) << " |" << std::flush;
      table << "\n";
    }
    table << "\n";
  }
  table << "## Three and four\n\n| methods | network | top-1, % | MACs, % |\n|---|---|---|---|\n";
  for (const auto& [model, plan] : combinations()) {
    CAPTURE(text_of(plan));
    REQUIRE(long_refusal_of(plan, model) == "");
    const LongRun run = train_for_long(plan, model);
    worst.add(run);
    table << "| " << text_of(plan) << " | " << (model == TinyModel::kCnn ? "CNN" : "ViT") << " | "
          << percent(run.top1_percent) << " | " << percent(run.macs_percent) << " |\n"
          << std::flush;
  }
  char line[200];
  std::snprintf(
      line, sizeof(line),
      "\n%lld plans trained, %lld refused; %lld stopped runs resumed to the same bits; masked "
      "against compact: %.1e at worst.\n",
      static_cast<long long>(worst.plans), static_cast<long long>(worst.refused),
      static_cast<long long>(worst.resumed), worst.masked_compact);
  table << line;
}

}  // namespace
}  // namespace vtrain
