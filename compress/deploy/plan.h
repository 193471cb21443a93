#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/parts/fake_quantize.h"
#include "nn/network.h"

namespace vtrain {

struct Quantization;

struct PlanOptions {
  /// f32, or bf16: activations and weights of products and attention are bf16 then, sums, norms
  /// and softmax are f32 inside, logits are f32.
  DType dtype = DType::f32;
  /// A larger batch is computed in runs of so many images, so that what one layer writes is still
  /// in cache when the next one reads it. 0: two for each thread, but at least 4. (16 images on one
  /// AVX-512 core with 2 MiB of L2, in runs of 1, 4, 16: ResNet-50 902, 859, 878 ms, MobileNetV2
  /// 95, 93, 111, DeiT-S 997, 996, 1029.)
  int64_t images_at_once = 0;
};

/// A trained network as what computes its logits fastest: layers fused, weights laid out once,
/// memory planned. Its values are those of the network when it was made; later changes of the
/// network do not reach it. Hooks are not deployed; permanent parts are.
///
///   f32: max |difference from Network::logits| <= 1e-5 max |logit|
///
/// Runs one call at a time: it owns the memory of its activations.
class Plan {
 public:
  /// Throws Error if an op of the network cannot be deployed, naming the layer, or if this CPU has
  /// no kernels of that dtype.
  explicit Plan(Network& network, const PlanOptions& options = {});
  /// On integers: layers of `quantization`, which was made of this network, multiply codes, and
  /// what passes between them is kept as codes. Everything else is f32, the only dtype that is
  /// allowed.
  Plan(Network& network, const Quantization& quantization, const PlanOptions& options = {});
  ~Plan();
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;

  /// images (N, C, H, W) f32, N >= 1  ->  logits (N, K) f32. What a batch size needs is prepared
  /// when it first comes and kept for the last few sizes. Throws ShapeError.
  Tensor run(const Tensor& images);

  /// One line per step: layers, kernel, shapes and dtypes for a batch.
  std::string describe(int64_t batch = 1);

  /// What each step computes for `images`, in order; `scope` is that of the op in the network's
  /// graph whose value it is. To find the layer where a plan and its network part.
  struct LayerOutput {
    std::string layers, scope;
    Tensor value;
    std::optional<QuantizedType> codes;  // what the value's integers stand for
  };
  /// `give` may write over what a step reads, before it runs: the value that the op at `scope`
  /// made.
  using Give = std::function<void(const std::string& scope,
                                  const std::optional<QuantizedType>& codes, Tensor& value)>;
  std::vector<LayerOutput> run_layers(const Tensor& images, const Give& give = {});

  /// Seconds that each step took in one run of a batch, by the lines of describe().
  std::vector<double> step_seconds(const Tensor& images);

  /// Bytes of activations for a batch: as planned, and the sum if no memory served twice.
  struct Memory {
    int64_t planned = 0, unplanned = 0;
  };
  Memory memory(int64_t batch);

 private:
  struct Parts;
  Plan(Network& network, const Quantization* quantization, const PlanOptions& options);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vtrain
