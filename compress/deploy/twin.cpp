#include "compress/deploy/twin.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/arithmetic.h"
#include "compress/deploy/int8_parts.h"
#include "tensor/ops/binary.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr const char* kOwner = "int8";
constexpr int64_t kGrain = 4096;  // elements

using Places = std::map<int, std::vector<std::string>>;

const Graph::Node& node_of(const Graph& graph, int index) {
  return graph.nodes()[static_cast<size_t>(index)];
}

/// A batch norm that adds `bias` and does nothing else, but for the last bit of 1 / sqrt(var +
/// eps).
void make_neutral(Network& network, const Graph& graph, const Graph::Node& bn, const Tensor& bias) {
  const auto set = [&](size_t input, const Tensor& value) {
    network.parameter(graph.value(bn.inputs[input]).parameter).set(value);
  };
  const Shape& shape = bias.shape();
  set(1, full(shape, std::sqrt(1 + attribute(bn, "eps"))));
  set(2, bias);
  set(4, zeros(shape));
  set(5, ones(shape));
}

/// Codes less their zero point, as reals: padding adds nothing then.
QuantizedType whole_numbers(const CodeRange& r) {
  return {.scale = 1, .range = {.low = r.low - r.zero_point, .high = r.high - r.zero_point}};
}

/// One layer of the twin on whole numbers.
class CodeLayer {
 public:
  CodeLayer(const Graph& graph, const Quantization& q, const QuantizedLayer& layer)
      : spec_(int8_layer(graph, q, layer)),
        epilogue_(int8_epilogue(spec_)),
        output_(spec_.output),
        residual_(spec_.residual),
        input_scale_(static_cast<double>(spec_.input.scale)),
        nearest_(whole_numbers(spec_.input.range)) {}

  /// x in reals -> what the layer gives; without its residual, which comes later.
  Variable product(const Variable& x, const Inner& inner) {
    sums_ = inner(nearest_(x / input_scale_)).value();
    if (!spec_.adds_residual) return result(Tensor());
    Int8Epilogue own = epilogue_;
    own.adds_residual = false;
    own.floor = -std::numeric_limits<float>::infinity();
    own.ceiling = std::numeric_limits<float>::infinity();
    own.output = DType::f32;
    product_ = written(own, Tensor());
    if (spec_.result == Int8Output::kCodes)
      product_ = multiply(product_, static_cast<double>(output_.scale));
    return product_;
  }

  /// total = product + residual, in reals -> what the layer gives. The residual is found in the
  /// total: it is whole in units of its scale, which a rounding of f32 does not hide.
  Variable with_residual(const Variable& total) {
    const Tensor residual = subtract(total.value(), product_);
    if (spec_.result == Int8Output::kReals) return result(residual);
    return result(Quantizer(residual_).codes(residual));
  }

 private:
  Variable result(const Tensor& residual) const {
    const Tensor y = written(epilogue_, residual);
    return spec_.result == Int8Output::kReals ? y : Quantizer(output_).reals(y);
  }
  Tensor written(const Int8Epilogue& e, const Tensor& residual) const {
    const bool is_image = sums_.ndim() == 4 && spec_.weight.ndim() == 4;
    const Tensor sums = is_image ? sums_.channels_last() : sums_.contiguous();
    Tensor y = is_image ? Tensor::empty_channels_last(sums.shape(), e.output)
                        : Tensor::empty(sums.shape(), e.output);
    Tensor added;
    if (residual.defined()) added = is_image ? residual.channels_last() : residual.contiguous();
    const int64_t channels = spec_.weight.dim(0);
    const auto* const s = sums.data<float>();
    parallel_for(sums.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        write_result(e, static_cast<int32_t>(s[i]), i % channels,
                     added.defined() ? added.raw() : nullptr, y.raw(), i);
    });
    return y;
  }

  Int8Layer spec_;
  Int8Epilogue epilogue_;
  QuantizedType output_, residual_;
  double input_scale_;
  Quantizer nearest_;
  Tensor sums_, product_;  // of this pass
};

/// Makes `layer` of the twin one on whole numbers.
void compute_on_codes(Network& twin, const Graph& graph, const Quantization& q,
                      const QuantizedLayer& layer, const Places& known) {
  const Graph::Node& product = node_of(graph, layer.nodes.product);
  const auto state = std::make_shared<CodeLayer>(graph, q, layer);
  const auto instead = [&](const std::string& parameter, const Tensor& value) {
    twin.hooks().transform_weight(
        parameter, {.slot = Slot::kQuantize,
                    .owner = kOwner,
                    .apply = [value](const Variable&, const Pass&) { return Variable(value); }});
  };
  const Shape shape = twin.parameter(layer.weight_path).value().shape();
  instead(layer.weight_path, layer.quantizer.codes(layer.weight).to(DType::f32).reshape(shape));
  if (const std::string bias = parameter_of(graph, product.inputs[2]); !bias.empty())
    instead(bias, zeros({layer.weight.dim(0)}));
  twin.hooks().wrap(layer.nodes.path,
                    {.slot = Slot::kCompute,
                     .owner = kOwner,
                     .apply = [state](const Variable& x, const Inner& inner, const Pass&) {
                       return state->product(x, inner);
                     }});
  if (layer.nodes.add < 0) return;
  const int total = node_of(graph, layer.nodes.add).output;
  for (const std::string& place : chosen_places(graph, total, known.at(total))) {
    twin.hooks().transform_value(place, {.slot = Slot::kReparameterise,
                                         .owner = kOwner,
                                         .apply = [state](const Variable& x, const Pass&) {
                                           return state->with_residual(x);
                                         }});
  }
}

bool is_on_codes(const QuantizedLayer& layer, const Places& known) {
  const auto places = known.find(layer.nodes.input);
  return layer.quantizer.range().high <= 127 && places != known.end() &&
         std::ranges::find(places->second, layer.nodes.path + ".in") != places->second.end();
}

}  // namespace

std::unique_ptr<Network> fake_quantized(const Network& network, const Graph& graph,
                                        const Quantization& quantization) {
  std::unique_ptr<Network> twin = network.clone();
  const Places known = places_of_values(network, graph);
  for (const QuantizedLayer& layer : quantization.layers) {
    Parameter weight = twin->parameter(layer.weight_path);
    weight.set(layer.quantizer(layer.weight).reshape(weight.value().shape()));
    const bool on_codes = is_on_codes(layer, known);
    if (on_codes) compute_on_codes(*twin, graph, quantization, layer, known);
    if (layer.nodes.batch_norm < 0) continue;
    make_neutral(*twin, graph, node_of(graph, layer.nodes.batch_norm),
                 on_codes ? zeros(layer.bias.shape()) : layer.bias);
    const int bias = node_of(graph, layer.nodes.product).inputs[2];
    if (const std::string path = parameter_of(graph, bias); !path.empty())
      twin->parameter(path).set(zeros(twin->parameter(path).value().shape()));
  }
  for (const auto& [value, places] : quantization.places) {
    const Quantizer quantizer(quantization.values.at(value));
    for (const std::string& place : places) {
      twin->hooks().transform_value(
          place, {.slot = Slot::kQuantize,
                  .owner = kOwner,
                  .apply = [quantizer](const Variable& x, const Pass&) { return quantizer(x); }});
    }
  }
  return twin;
}

}  // namespace vtrain
