#include "compress/parts/rounding_report.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>

#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

/// The codes of weights at the start of an epoch.
class CodesBefore final : public Module {
 public:
  Parameter add_codes(const std::string& weight, const Shape& shape) {
    return add(weight, Parameter(shape, Init::zeros(), /*is_buffer=*/true));
  }
};

double percent(int64_t part, int64_t all) {
  return all == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(all);
}

std::string cell(double x) {
  std::array<char, 32> text = {};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), x).ptr};
}

std::string two_decimals(double x) { return str(static_cast<double>(std::llround(100 * x)) / 100); }

int64_t different(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(Device{}).contiguous(), y = b.to(Device{}).contiguous();
  const auto* const p = x.data<int8_t>();
  const auto* const q = y.data<int8_t>();
  int64_t count = 0;
  for (int64_t i = 0; i < x.numel(); ++i) count += p[i] != q[i] ? 1 : 0;
  return count;
}

bool is_finite(const Tensor& x) {
  return std::ranges::all_of(x.to_vector(), [](double v) { return std::isfinite(v); });
}

/// The name with the largest share.
class Most {
 public:
  void add(const std::string& name, double percent) {
    if (!name_.empty() && percent <= percent_) return;
    name_ = name;
    percent_ = percent;
  }
  /// "layer2.0.conv1 3.1 %"; "none" where no share is above 0.
  std::string text() const {
    return percent_ > 0 ? str(name_, ' ', two_decimals(percent_), " %") : "none";
  }

 private:
  std::string name_;
  double percent_ = 0;
};

}  // namespace

RoundingCounts rounding_counts(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  const Tensor own = x.contiguous();
  const std::vector<double> scales = scale.to_vector();
  const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high),
             zero = static_cast<float>(range.zero_point);
  const auto* const values = own.data<float>();
  const int64_t slices = std::ssize(scales), length = own.numel() / slices;
  RoundingCounts counts{.elements = own.numel()};
  for (int64_t s = 0; s < slices; ++s) {
    const float inverse = 1.0F / static_cast<float>(scales[static_cast<size_t>(s)]);
    for (int64_t i = s * length; i < (s + 1) * length; ++i) {
      const float code = std::nearbyint(values[i] * inverse) + zero;
      counts.clipped += code < low || code > high ? 1 : 0;
      counts.zeros += code == zero ? 1 : 0;
    }
  }
  return counts;
}

void RoundingReport::attach(Run& run, const std::vector<QuantLayer>& layers, CodesOf codes) {
  codes_ = std::move(codes);
  const auto before = std::make_shared<CodesBefore>();
  for (const QuantLayer& layer : layers)
    layers_.push_back(
        {.path = layer.path,
         .weight = layer.weight,
         .before = before->add_codes(layer.weight.path(), layer.weight.value().shape())});
  run.add_module("codes", before);
  for (Layer& layer : layers_) {
    const Tensor& value = layer.before.value();
    layer.before.replace(zeros(value.shape(), DType::i8, value.device()));
  }
  run.follow_cuts([this](const Parameter& p, int axis, const std::vector<int64_t>& keep) {
    for (Layer& layer : layers_) {
      if (p == layer.weight) layer.before.replace(kept(layer.before.value(), axis, keep));
    }
  });
}

void RoundingReport::start() {
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].before.set(codes_(i).codes);
}

void RoundingReport::after_update(Step& step) {
  if (!step.ends_epoch()) return;
  // A weight that is not finite has no code; the next loss ends the run and says why.
  if (!std::ranges::all_of(layers_, [](const Layer& l) { return is_finite(l.weight.value()); }))
    return;
  changed_percent_.clear();
  int64_t all_changed = 0, all = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Tensor now = codes_(i).codes;
    const int64_t changed = different(now, layers_[i].before.value());
    changed_percent_.push_back(percent(changed, now.numel()));
    all_changed += changed;
    all += now.numel();
    layers_[i].before.set(now);
  }
  step.run().log("changed_percent", percent(all_changed, all));
}

void RoundingReport::watch(size_t value, const Tensor& x, const QuantizedType& type) {
  const Tensor own = x.to(Device{}).to(DType::f32);
  const ValueRange range = min_max(own);
  Watched& seen = watched_.at(value);
  const bool is_first = seen.counts.elements == 0;
  seen.type = type;
  seen.low = is_first ? range.low : std::min(seen.low, range.low);
  seen.high = is_first ? range.high : std::max(seen.high, range.high);
  const RoundingCounts counts =
      rounding_counts(own, full({1}, static_cast<double>(type.scale)), type.range);
  seen.counts.elements += counts.elements;
  seen.counts.clipped += counts.clipped;
  seen.counts.zeros += counts.zeros;
}

void RoundingReport::look(Run& run) {
  is_watching_ = true;
  for (const Batch& batch : run.samples(kImages)) run.net().forward(batch.images, run.evaluation());
  is_watching_ = false;
}

void RoundingReport::write(Run& run, const std::vector<QuantValue>& values) {
  watched_.assign(values.size(), {});
  if (!values.empty()) look(run);
  std::vector<std::vector<std::string>> rows;
  Most clipped, zeros, changed;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const WeightCodes w = codes_(i);
    const std::string& name = layers_[i].path;
    const ValueRange range = min_max(w.reals);
    const auto [least, most] = std::ranges::minmax(w.scales);
    const std::vector<double> codes = w.codes.to_vector();
    const double zero = percent(std::ranges::count(codes, 0.0), std::ssize(codes));
    zeros.add(name, zero);
    std::string clipped_cell, changed_cell;
    if (w.clipped) {
      const double share = percent(*w.clipped, w.reals.numel());
      clipped.add(name, share);
      clipped_cell = cell(share);
    }
    if (!changed_percent_.empty()) {
      changed.add(name, changed_percent_[i]);
      changed_cell = cell(changed_percent_[i]);
    }
    rows.push_back({run.method(), "weight", name, str(w.bits), cell(range.low), cell(range.high),
                    cell(least), cell(most), clipped_cell, cell(zero), changed_cell});
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const Watched& v = watched_[i];
    if (v.counts.elements == 0) {  // another method has cut away what makes it
      rows.push_back({run.method(), "value", values[i].name, "", "", "", "", "", "", "", ""});
      continue;
    }
    const double beyond = percent(v.counts.clipped, v.counts.elements),
                 zero = percent(v.counts.zeros, v.counts.elements);
    clipped.add(values[i].name, beyond);
    const auto bits = std::bit_width(static_cast<uint64_t>(v.type.range.high - v.type.range.low));
    const std::string scale = cell(static_cast<double>(v.type.scale));
    rows.push_back({run.method(), "value", values[i].name, str(bits), cell(v.low), cell(v.high),
                    scale, scale, cell(beyond), cell(zero), ""});
  }
  watched_.clear();
  run.table("quant",
            {"method", "kind", "name", "bits", "min", "max", "scale_min", "scale_max",
             "clipped_percent", "zeros_percent", "changed_percent"},
            rows);
  run.report("rounding", str("most clipped: ", clipped.text(), "; most zeros among weights: ",
                             zeros.text(), "; codes that the last epoch changed: ", changed.text(),
                             "; of all layers: ", run.phase(), ".quant.csv"));
}

}  // namespace vtrain
