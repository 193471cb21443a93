#include "tests/parity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "nn/optim/optimizer.h"

namespace vtrain {
namespace {

enum Entry { kNorm, kMax, kProbe, kFirstSample, kEntries = kFirstSample + 8 };

constexpr double kTolerance = 1e-4;  // of gradients and movements, to their norm

/// A bias of all keys of attention changes no output: its gradient is rounding alone, which Adam
/// scales up. It counts as zero.
std::vector<double> seen(const std::string& path, const Tensor& t) {
  std::vector<double> values = t.to_vector();
  if (!path.ends_with("qkv.bias")) return values;
  const auto third = static_cast<std::ptrdiff_t>(values.size() / 3);
  std::fill(values.begin() + third, values.begin() + 2 * third, 0);
  return values;
}

std::vector<double> summary(const std::string& path, const std::vector<double>& values) {
  const auto size = static_cast<int64_t>(values.size());
  const std::vector<double> probe = uniform_of(path + ".probe", {size}).to_vector();
  const std::vector<double> at = uniform_of(path + ".sample", {8}).to_vector();
  std::vector<double> s(kEntries, 0);
  for (size_t i = 0; i < values.size(); ++i) {
    s[kNorm] += values[i] * values[i];
    s[kMax] = std::max(s[kMax], std::abs(values[i]));
    s[kProbe] += values[i] * probe[i];
  }
  s[kNorm] = std::sqrt(s[kNorm]);
  for (size_t k = 0; k < at.size(); ++k)
    s[kFirstSample + k] = values[static_cast<size_t>((at[k] + 1) / 2 * static_cast<double>(size))];
  return s;
}

/// The largest distance of two summaries: of norm and probe in units of `norm`, of the elements in
/// units of `max`.
double distance(const std::vector<double>& actual, const std::vector<double>& expected, double norm,
                double max) {
  double worst = 0;
  for (size_t i = 0; i < kEntries; ++i) {
    const double unit = i == kNorm || i == kProbe ? norm : max;
    const double off = std::abs(actual[i] - expected[i]) / unit;
    if (!(off <= worst)) worst = off;  // NaN stays
  }
  return worst;
}

std::vector<double> row_of(const Tensor& table, size_t row) {
  const auto at = static_cast<int64_t>(row);
  return table.slice(0, at, at + 1).to_vector();
}

double relative(double actual, double expected) {
  return std::abs(actual - expected) / std::abs(expected);
}

}  // namespace

Tensor uniform_of(const std::string& name, const Shape& shape) {
  uint64_t seed = 0xCBF29CE484222325;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  std::vector<double> values(static_cast<size_t>(numel_of(shape)));
  for (double& value : values) {
    seed += 0x9E3779B97F4A7C15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    value = static_cast<double>(z >> 40) / (1 << 23) - 1;
  }
  return from_values(shape, values, DType::f64);
}

Parity::Parity(Model& model, Settings settings)
    : model_(model), settings_(std::move(settings)), golden_("parity_" + settings_.name) {
  model_.set_path("");
  std::map<std::string, Parameter> ours;
  for (const Parameter& p : model_.parameters()) ours[p.path()] = p;
  std::string text;
  for (const double c : golden_("parameters").to_vector()) text += static_cast<char>(c);
  std::istringstream lines(text);
  size_t row = 0, gradients = static_cast<size_t>(golden_("grad").dim(0));
  for (std::string line; std::getline(lines, line); ++row) {
    std::istringstream words(line);
    std::string path;
    Shape shape;
    words >> path;
    for (int64_t extent = 0; words >> extent;) shape.push_back(extent);
    CAPTURE(path);
    REQUIRE(ours.contains(path));
    Parameter p = ours.at(path);
    REQUIRE(p.value().shape() == shape);
    REQUIRE(p.is_buffer() == (row >= gradients));
    const std::vector<double> start = row_of(golden_("start"), row);
    std::vector<double> values = uniform_of(path, shape).to_vector();
    for (double& v : values) v = start[0] + start[1] * v;
    p.set(from_values(shape, values));
    rows_.push_back({.parameter = p,
                     .grad = p.is_buffer() ? std::vector<double>{} : row_of(golden_("grad"), row),
                     .moved = row_of(golden_("moved"), row),
                     .start = p.value().clone()});
  }
  REQUIRE(rows_.size() == ours.size());
}

Tensor Parity::images(int64_t step) const {
  const auto seed = static_cast<int64_t>(golden_("seed").item());
  return uniform_of(str("images.", seed, '.', step),
                    {settings_.batch, 3, settings_.side, settings_.side})
      .to(DType::f32)
      .channels_last();
}

Variable Parity::loss(int64_t step, Tensor* logits) {
  Pass pass;
  pass.is_training = true;
  pass.wants_grad = true;
  const Variable y = model_.outputs(Variable(images(step)), pass).logits;
  if (logits != nullptr) *logits = y.value();
  Tensor targets = zeros(y.shape());
  const std::vector<double> labels = golden_("labels").select(0, step).to_vector();
  for (int64_t n = 0; n < y.dim(0); ++n) {
    const auto label = static_cast<int64_t>(labels[static_cast<size_t>(n)]);
    targets.slice(0, n, n + 1).slice(1, label, label + 1).fill(1);
  }
  return mean(cross_entropy(y, targets));
}

/// The weight beside a bias, if both are vectors; else nullptr.
const Parity::Row* Parity::weight_of_norm(const Row& bias) const {
  const std::string& path = bias.parameter.path();
  if (!path.ends_with(".bias")) return nullptr;
  const std::string weight = path.substr(0, path.size() - 4) + "weight";
  for (const Row& row : rows_) {
    if (row.parameter.path() == weight && row.parameter.value().ndim() == 1) return &row;
  }
  return nullptr;
}

void Parity::check_first_step() {
  Tensor logits;
  const Variable first = loss(0, &logits);
  CHECK(relative_error(logits, golden_("logits")) < 1e-5);
  CHECK(relative(first.value().item(), golden_("losses").to_vector()[0]) < 1e-5);
  backward(first);
  for (const Row& row : rows_) {
    if (row.parameter.is_buffer()) continue;
    const std::string& path = row.parameter.path();
    CAPTURE(path);
    REQUIRE(row.parameter.grad().defined());
    double norm = row.grad[kNorm], max = row.grad[kMax];
    // A normalisation takes out what is added to a channel in front of it. A bias that only another
    // normalisation sees has gradient 0 but for rounding, and is held to the size of its weight's.
    if (const Row* const weight = weight_of_norm(row)) {
      norm = std::max(norm, weight->grad[kNorm]);
      max = std::max(max, weight->grad[kMax]);
    }
    const double off =
        distance(summary(path, seen(path, row.parameter.grad())), row.grad, norm, max);
    CHECK(off < kTolerance);
    row.parameter.clear_grad();
  }
}

void Parity::check_training() {
  Recipe recipe = Recipe::from_text("{optim: " + settings_.optimizer + "}");
  const OptimizerOptions o = read_optimizer(recipe.section("optim"));
  std::vector<Parameter> trained;
  for (const Row& row : rows_) {
    row.parameter.clear_grad();
    if (!row.parameter.is_buffer()) trained.push_back(row.parameter);
  }
  const std::vector<double> losses = golden_("losses").to_vector();
  for (size_t step = 0; step < losses.size(); ++step) {
    CAPTURE(step);
    const Variable l = loss(static_cast<int64_t>(step));
    CHECK(relative(l.value().item(), losses[step]) < 1e-5);
    backward(l);
    o.optimizer->step({{.name = "all", .parameters = trained}}, o.lr, 1);
    for (const Parameter& p : trained) p.clear_grad();
  }
  for (const Row& row : rows_) {
    const std::string& path = row.parameter.path();
    CAPTURE(path);
    std::vector<double> moved = seen(path, row.parameter.value());
    const std::vector<double> start = seen(path, row.start);
    for (size_t i = 0; i < moved.size(); ++i) moved[i] -= start[i];
    // f32 keeps each update to 2^-24 of the value that it changes.
    const double rounding = static_cast<double>(losses.size()) * 0x1p-24 / kTolerance;
    const std::vector<double> size = summary(path, start);
    const Row* const weight = weight_of_norm(row);
    const double norm = std::max(row.moved[kNorm], weight ? weight->moved[kNorm] : 0.0),
                 max = std::max(row.moved[kMax], weight ? weight->moved[kMax] : 0.0);
    const double off = distance(summary(path, moved), row.moved, norm + rounding * size[kNorm],
                                max + rounding * size[kMax]);
    CHECK(off < kTolerance);
  }
  CHECK(relative_error(model_.outputs(Variable(images(0)), Pass{}).logits.value(),
                       golden_("trained_logits")) < 1e-5);
}

}  // namespace vtrain
