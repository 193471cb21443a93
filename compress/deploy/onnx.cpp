#include "compress/deploy/onnx.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "compress/deploy/onnx/run.h"
#include "compress/deploy/onnx/writer.h"
#include "compress/deploy/plan.h"
#include "tensor/atomic_file.h"
#include "tensor/ops/rows.h"

namespace vtrain {
namespace {

using Json = nlohmann::json;

[[noreturn]] void differ(const std::string& what) { throw Error(what, ExitCode::kVerification); }

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) == 0;
}

/// The first thing in which a file that was read is not the one that was to be written; "" if none.
std::string first_change(const OnnxFile& wanted, const OnnxFile& got) {
  if (wanted.nodes.size() != got.nodes.size())
    return str("expected ", wanted.nodes.size(), " nodes, got ", got.nodes.size());
  for (size_t i = 0; i < wanted.nodes.size(); ++i) {
    const OnnxNode &a = wanted.nodes[i], &b = got.nodes[i];
    if (a.op != b.op || a.name != b.name || a.inputs != b.inputs || a.outputs != b.outputs)
      return str("node ", i, ": expected ", a.op, ' ', a.name, ", got ", b.op, ' ', b.name,
                 " or other inputs");
    if (a.attributes.size() != b.attributes.size())
      return str("node ", a.name, ": other attributes");
  }
  if (wanted.initializers.size() != got.initializers.size())
    return str("expected ", wanted.initializers.size(), " initializers, got ",
               got.initializers.size());
  for (size_t i = 0; i < wanted.initializers.size(); ++i) {
    const auto& [name, tensor] = wanted.initializers[i];
    if (name != got.initializers[i].first || !same_bits(tensor, got.initializers[i].second))
      return str("initializer ", name, ": not the network's");
  }
  if (wanted.inputs != got.inputs || wanted.outputs != got.outputs || wanted.values != got.values)
    return "the values' names or shapes are not the network's";
  if (wanted.metadata != got.metadata) return "the metadata are not the network's";
  return {};
}

/// Names are unique, and nodes stand behind what they read; "" if so.
std::string order_fault(const OnnxFile& file) {
  std::set<std::string> made, names;
  for (const OnnxValue& input : file.inputs) made.insert(input.name);
  for (const auto& [name, tensor] : file.initializers) {
    if (!made.insert(name).second) return str("two values are called ", name);
  }
  for (const OnnxNode& node : file.nodes) {
    if (!names.insert(node.name).second) return str("two nodes are called ", node.name);
    for (const std::string& input : node.inputs) {
      if (!input.empty() && !made.contains(input))
        return str("node ", node.name, " reads ", input, ", which nothing before it makes");
    }
    for (const std::string& output : node.outputs) {
      if (!made.insert(output).second) return str("two values are called ", output);
    }
  }
  for (const OnnxValue& output : file.outputs) {
    if (!made.contains(output.name)) return str("nothing makes the output ", output.name);
  }
  return {};
}

/// max |a - b| / max |a|; infinity where a value is not finite in one of them only.
double relative_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double largest = 0, difference = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double d = std::abs(x[i] - y[i]);
    difference = std::max(difference, std::isfinite(d) ? d : INFINITY);
  }
  if (difference == 0) return 0;
  for (const double v : x) largest = std::max(largest, std::isfinite(v) ? std::abs(v) : 0);
  return largest > 0 ? difference / largest : INFINITY;
}

/// The image whose outputs differ most; an image may have several rows.
int64_t worst_image(const Tensor& ours, const Tensor& theirs, int64_t images) {
  int64_t worst = 0;
  double most = -1;
  for (int64_t i = 0; i < ours.dim(0); ++i) {
    const double d = relative_difference(ours.slice(0, i, i + 1), theirs.slice(0, i, i + 1));
    if (d > most) {
      most = d;
      worst = i;
    }
  }
  return worst * images / ours.dim(0);
}

double largest_of(const Tensor& x) {
  double largest = 0;
  for (const double v : x.to_vector()) largest = std::max(largest, std::abs(v));
  return largest;
}

/// Rows whose largest element stands at one place in both, or at places that lie no further apart
/// than `undecided`.
int64_t same_classes(const Tensor& ours, const Tensor& theirs, double undecided) {
  int64_t same = 0;
  for (int64_t i = 0; i < ours.dim(0); ++i) {
    const std::vector<double> a = ours.select(0, i).to_vector(),
                              b = theirs.select(0, i).to_vector();
    const double chosen = a[static_cast<size_t>(std::ranges::max_element(b) - b.begin())];
    same += std::ranges::max(a) - chosen <= undecided ? 1 : 0;
  }
  return same;
}

/// Removes a file of ours, if it is still there.
class RemovedAtEnd {
 public:
  explicit RemovedAtEnd(std::string path) : path_(std::move(path)) {}
  ~RemovedAtEnd() {
    std::error_code ignored;  // what went wrong before is what has to be told
    std::filesystem::remove(path_, ignored);
  }
  RemovedAtEnd(const RemovedAtEnd&) = delete;
  RemovedAtEnd& operator=(const RemovedAtEnd&) = delete;

 private:
  std::string path_;
};

/// The network's logits and heads, as the file orders them.
std::vector<Tensor> outputs_of(Network& network, const Tensor& images, int64_t batch) {
  std::vector<std::vector<Tensor>> parts;
  for (int64_t begin = 0; begin < images.dim(0); begin += batch) {
    const int64_t end = std::min(begin + batch, images.dim(0));
    const Outputs outputs =
        network.root().outputs(Variable(images.slice(0, begin, end).channels_last()), Pass{});
    parts.resize(1 + outputs.heads.size());
    parts[0].push_back(outputs.logits.value());
    size_t next = 1;
    for (const auto& [name, head] : outputs.heads) parts[next++].push_back(head.value());
  }
  std::vector<Tensor> joined;
  for (const std::vector<Tensor>& part : parts) joined.push_back(concat(part, 0));
  return joined;
}

/// Runs the file with all values as outputs on one image, and says which is the first that is not
/// the network's.
std::string first_difference(Network& network, const OnnxFile& file, const std::string& path,
                             const Tensor& image, double tolerance) {
  OnnxFile open = file;
  open.outputs.insert(open.outputs.begin(), open.values.begin(), open.values.end());
  open.values.clear();
  const std::string probe = path + ".values";
  const RemovedAtEnd removed(probe);
  write_file_atomically(probe, onnx_bytes(open));
  const OnnxRun run = run_onnx(probe, open, image, 1);

  Trace trace;
  {
    const Trace::Recording recording(trace);
    network.root().outputs(Variable(image.channels_last()), Pass{});
  }
  std::map<std::string, size_t> index;  // of a value among the outputs
  for (size_t i = 0; i < open.outputs.size(); ++i) index[open.outputs[i].name] = i;
  std::map<std::string, size_t> made_by;  // the same by the node that makes it, an op's scope
  for (const OnnxNode& node : open.nodes) {
    for (const std::string& output : node.outputs) {
      if (index.contains(output)) made_by[node.name] = index[output];
    }
  }
  for (const Trace::Record& record : trace.records()) {
    const auto found = made_by.find(record.scope);
    if (found == made_by.end()) continue;
    const double d =
        relative_difference(trace.tensor(record.output).to(DType::f32), run.outputs[found->second]);
    if (d > tolerance)
      return str("the first layer that differs is ", record.scope, ", by ", d,
                 " of its largest value");
  }
  return "no layer differs where the values of all are asked for";
}

std::map<std::string, std::string> metadata_of(const Network& network) {
  const Preprocessing& p = network.preprocessing;
  std::map<std::string, std::string> metadata{{"architecture", network.architecture().to_json()},
                                              {"mean", Json(p.mean).dump()},
                                              {"std", Json(p.std).dump()},
                                              {"class_names", Json(p.class_names).dump()}};
  if (p.crop_pct > 0) {
    metadata["crop_pct"] = Json(p.crop_pct).dump();
    metadata["interpolation"] = Json(p.interpolation).dump();
  }
  return metadata;
}

OnnxFile file_of(Network& network, const Quantization* quantization) {
  const Graph graph(network);
  OnnxFile file = OnnxWriter(graph, quantization).write(network.architecture().model);
  file.metadata = metadata_of(network);
  return file;
}

/// What is known of a file before it has run.
OnnxReport report_of(Network& network, const OnnxFile& file, const std::string& path,
                     const OnnxRun& run) {
  return {.bytes = static_cast<int64_t>(std::filesystem::file_size(path)),
          .nodes = static_cast<int64_t>(file.nodes.size()),
          .parameters = network.parameter_count(),
          .runtime = run.runtime,
          .why_not = run.why_not};
}

/// Writes `file` to `path` once `compare` has nothing against its bytes under another name.
template <class Compare>
OnnxReport export_file(const OnnxFile& file, const std::string& path, const Compare& compare) {
  AtomicFile target(path);  // a name that cannot be written is found before the work
  const std::string bytes = onnx_bytes(file), unchecked = str(path, ".unchecked-", getpid());
  const RemovedAtEnd removed(unchecked);
  write_file_atomically(unchecked, bytes);
  OnnxReport report;
  try {
    check_onnx(file, unchecked);
    report = compare(unchecked);
  } catch (const Error& error) {
    throw Error(str(path, ": not written: ", error.what()), error.code());
  }
  target.write(bytes);
  target.commit();
  return report;
}

}  // namespace

OnnxFile onnx_of(Network& network) { return file_of(network, nullptr); }
OnnxFile onnx_of(Network& network, const Quantization& quantization) {
  return file_of(network, &quantization);
}

void check_onnx(const OnnxFile& wanted, const std::string& path) {
  const OnnxFile file = read_onnx(path);
  if (const std::string change = first_change(wanted, file); !change.empty())
    differ("read back: " + change);
  if (const std::string fault = order_fault(file); !fault.empty()) differ(fault);
  if (const std::string fault = onnx_fault(path); !fault.empty()) differ(fault);
}

OnnxReport compare_onnx(Network& network, const std::string& path, const Tensor& images,
                        const OnnxCheckOptions& options) {
  const OnnxFile file = read_onnx(path);
  const OnnxRun run = run_onnx(path, file, images, options.batch);
  OnnxReport report = report_of(network, file, path, run);
  if (run.runtime.empty()) return report;

  const std::vector<Tensor> ours = outputs_of(network, images, options.batch);
  report.images = images.dim(0);
  report.same_class =
      same_classes(ours[0], run.outputs[0], 2 * options.tolerance * largest_of(ours[0]));
  for (size_t i = 0; i < ours.size(); ++i) {
    const double difference = relative_difference(ours[i], run.outputs[i]);
    report.difference = std::max(report.difference, difference);
    if (difference <= options.tolerance) continue;
    const int64_t image = worst_image(ours[i], run.outputs[i], report.images);
    differ(str(file.outputs[i].name, " of ", run.runtime, " differ by ", difference,
               " of the largest, expected at most ", options.tolerance, "; ",
               first_difference(network, file, path, images.slice(0, image, image + 1),
                                options.tolerance)));
  }
  if (report.same_class != report.images) {
    differ(str(run.runtime, " gives another class to ", report.images - report.same_class, " of ",
               report.images, " images"));
  }
  return report;
}

OnnxReport compare_onnx(Network& network, const Quantization& quantization, const std::string& path,
                        const Tensor& images, const OnnxCheckOptions& options) {
  const OnnxFile file = read_onnx(path);
  const OnnxRun run = run_onnx(path, file, images, options.batch);
  OnnxReport report = report_of(network, file, path, run);
  if (run.runtime.empty()) return report;
  const Tensor own = Plan(network, quantization).run(images.channels_last());
  report.images = images.dim(0);
  report.same_class = same_classes(own, run.outputs[0], options.near_classes * largest_of(own));
  report.difference = relative_difference(own, run.outputs[0]);
  if (!(report.difference <= options.code_tolerance))
    differ(str("logits of ", run.runtime, " differ by ", report.difference,
               " of the largest from those of the plan on integers, expected at most ",
               options.code_tolerance));
  if (50 * (report.images - report.same_class) > report.images)
    differ(str(run.runtime, " gives another class than the plan on integers to ",
               report.images - report.same_class, " of ", report.images,
               " images, expected at most one in 50"));
  return report;
}

OnnxReport export_onnx(Network& network, const std::string& path, const Tensor& images,
                       const OnnxCheckOptions& options) {
  return export_file(onnx_of(network), path, [&](const std::string& unchecked) {
    return compare_onnx(network, unchecked, images, options);
  });
}
OnnxReport export_onnx(Network& network, const Quantization& quantization, const std::string& path,
                       const Tensor& images, const OnnxCheckOptions& options) {
  return export_file(onnx_of(network, quantization), path, [&](const std::string& unchecked) {
    return compare_onnx(network, quantization, unchecked, images, options);
  });
}

}  // namespace vtrain
