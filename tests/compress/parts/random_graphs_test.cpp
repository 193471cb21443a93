// Masked = compact on networks that nobody designed: residual sums, concatenations, depthwise and
// grouped convolutions, shuffles, gates and attention, strung together at random.
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/rearrange.h"
#include "autograd/shape.h"
#include "nn/layers/attention.h"
#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/layer_norm.h"
#include "nn/layers/linear.h"
#include "nn/layers/max_pool2d.h"
#include "nn/models/model.h"
#include "tensor/random.h"
#include "tests/cutting.h"

namespace vtrain {
namespace {

/// Draws of one network: whole numbers from a stream of their own.
class Dice {
 public:
  explicit Dice(int64_t seed) : random_(static_cast<uint64_t>(seed), "", "graph") {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_.uniform(0, 0, next_++) * static_cast<double>(n));
  }
  int64_t channels() { return 2 * (1 + below(4)); }  // even, so that two groups fit

 private:
  Random random_;
  int64_t next_ = 0;
};

class RandomNet final : public Model {
 public:
  explicit RandomNet(const ModelOptions& options) : dice_(seed) {
    channels_ = options.channels;
    side_ = options.image_size;
    conv_norm_relu(3, 1, 1);
    const int64_t blocks = 2 + dice_.below(4);
    for (int64_t i = 0; i < blocks; ++i) add_block();
    tail(options.num_classes);
  }

  Outputs outputs(const Variable& images, const Pass& pass) override {
    Variable x = images;
    for (const auto& step : steps_) x = step(x, pass);
    return {.logits = x, .heads = {}};
  }

  static inline int64_t seed = 0;  // of the next network; the registry makes them from options

 private:
  using Step = std::function<Variable(const Variable&, const Pass&)>;

  template <class M, class... Arguments>
  M* make(Arguments&&... arguments) {
    auto module = std::make_shared<M>(std::forward<Arguments>(arguments)...);
    M* const raw = module.get();
    modules_.push_back(module);
    add(str("m", modules_.size() - 1), *raw);
    return raw;
  }
  Conv2d* conv(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1) {
    return make<Conv2d>(in, out,
                        Conv2dSettings{.kernel = kernel,
                                       .stride = stride,
                                       .padding = kernel / 2,
                                       .groups = groups,
                                       .has_bias = dice_.below(2) == 0});
  }
  /// Convolution, norm, relu as a step, of `in` channels to `out`.
  Step unit(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1) {
    Conv2d* const c = conv(in, out, kernel, stride, groups);
    BatchNorm2d* const bn = make<BatchNorm2d>(out);
    return
        [c, bn](const Variable& x, const Pass& pass) { return relu((*bn)((*c)(x, pass), pass)); };
  }
  void conv_norm_relu(int64_t kernel, int64_t stride, int64_t groups) {
    const int64_t out = dice_.channels();
    steps_.push_back(unit(channels_, out, kernel, stride, groups));
    channels_ = out;
    side_ = (side_ + stride - 1) / stride;
  }

  void add_block() {
    const int64_t c = channels_;
    switch (dice_.below(10)) {
      case 0:
        conv_norm_relu(1 + 2 * dice_.below(2), 1 + dice_.below(2), 1);
        break;
      case 1: {  // residual
        const int64_t hidden = dice_.channels();
        steps_.push_back(
            [a = unit(c, hidden, 3), b = unit(hidden, c, 1)](const Variable& x, const Pass& pass) {
              return x + b(a(x, pass), pass);
            });
        break;
      }
      case 2: {  // residual with a projection
        const int64_t out = dice_.channels();
        steps_.push_back(
            [a = unit(c, out, 3), b = unit(c, out, 1)](const Variable& x, const Pass& pass) {
              return relu(a(x, pass) + b(x, pass));
            });
        channels_ = out;
        break;
      }
      case 3: {  // branches side by side
        const int64_t left = dice_.channels(), right = dice_.channels();
        steps_.push_back(
            [a = unit(c, left, 1), b = unit(c, right, 3)](const Variable& x, const Pass& pass) {
              return concat({a(x, pass), b(x, pass)}, 1);
            });
        channels_ = left + right;
        break;
      }
      case 4: {  // densely connected
        const int64_t grown = dice_.channels();
        steps_.push_back([a = unit(c, grown, 3)](const Variable& x, const Pass& pass) {
          return concat({x, a(x, pass)}, 1);
        });
        channels_ = c + grown;
        break;
      }
      case 5: {  // depthwise, with a multiplier
        const int64_t multiplier = 1 + dice_.below(2);
        steps_.push_back(unit(c, multiplier * c, 3, 1, c));
        channels_ = multiplier * c;
        break;
      }
      case 6:  // grouped
        conv_norm_relu(3, 1, 2);
        break;
      case 7: {  // grouped, shuffled, depthwise
        const int64_t out = dice_.channels();
        steps_.push_back([a = unit(c, out, 1, 1, 2), b = unit(out, out, 3, 1, out)](
                             const Variable& x, const Pass& pass) {
          return b(channel_shuffle(a(x, pass), 2), pass);
        });
        channels_ = out;
        break;
      }
      case 8: {  // squeeze and excitation
        const int64_t hidden = dice_.channels();
        GlobalAveragePool* const pool = make<GlobalAveragePool>();
        Linear* const down = make<Linear>(c, hidden);
        Linear* const up = make<Linear>(hidden, c);
        steps_.push_back([pool, down, up](const Variable& x, const Pass& pass) {
          const Variable gate = sigmoid((*up)(relu((*down)((*pool)(x, pass), pass)), pass));
          return x * reshape(gate, {x.dim(0), x.dim(1), 1, 1});
        });
        break;
      }
      default:  // halves: one goes through a unit; the split itself is not cut
        steps_.push_back(
            [a = unit(c / 2, c / 2, 3), half = c / 2](const Variable& x, const Pass& pass) {
              return concat({slice(x, 1, 0, half), a(slice(x, 1, half, 2 * half), pass)}, 1);
            });
    }
  }

  void tail(int64_t classes) {
    const int64_t c = channels_;
    switch (dice_.below(3)) {
      case 0: {  // flattened
        Linear* const fc = make<Linear>(c * side_ * side_, classes);
        steps_.push_back([fc](const Variable& x, const Pass& pass) {
          return (*fc)(reshape(x, {x.dim(0), -1}), pass);
        });
        break;
      }
      case 1: {
        GlobalAveragePool* const pool = make<GlobalAveragePool>();
        Linear* const fc = make<Linear>(c, classes);
        steps_.push_back([pool, fc](const Variable& x, const Pass& pass) {
          return (*fc)((*pool)(x, pass), pass);
        });
        break;
      }
      default: {  // a transformer block on positions
        LayerNorm* const norm = make<LayerNorm>(c);
        SelfAttention* const attention = make<SelfAttention>(c, 2);
        Linear* const fc = make<Linear>(c, classes);
        steps_.push_back([norm, attention, fc](const Variable& x, const Pass& pass) {
          const Variable positions = transpose(transpose(x, 1, 2), 2, 3);
          Tokens t;
          t.x = reshape(positions, {x.dim(0), x.dim(2) * x.dim(3), x.dim(1)});
          Tokens normed = t;
          normed.x = (*norm)(t.x, pass);
          const Variable y = t.x + (*attention)(normed, pass).x;
          return (*fc)(mean(y, {1}), pass);
        });
      }
    }
  }

  Dice dice_;
  int64_t channels_ = 0, side_ = 0;
  std::vector<std::shared_ptr<Module>> modules_;
  std::vector<Step> steps_;
};

const RegisteredModel registered("test_random_net", "of random_graphs_test", "",
                                 [](const ModelOptions& o) -> std::unique_ptr<Model> {
                                   return std::make_unique<RandomNet>(o);
                                 });

TEST_CASE("random graphs: masked and compact agree to 1e-10 in f64 on 500 networks") {
  int64_t removed = 0, networks_cut = 0;
  for (int64_t seed = 0; seed < 500; ++seed) {
    CAPTURE(seed);
    RandomNet::seed = seed;
    Network network({.model = "test_random_net",
                     .options = {.num_classes = 4, .channels = 3, .image_size = 6},
                     .parts = {}});
    const double rate = std::vector<double>{0.25, 0.5, 0.75}[static_cast<size_t>(seed % 3)];
    const MaskedCompact result = masked_against_compact(
        network, DType::f64, seed % 2 == 0 ? GroupedCut::kAligned : GroupedCut::kWhole, rate,
        seed % 5 == 0 ? CutScore::kMagnitude : CutScore::kRandom, static_cast<uint64_t>(seed));
    CHECK(result.difference < 1e-10);
    removed += result.removed;
    networks_cut += result.removed > 0;
  }
  // It would prove nothing if hardly anything could be cut.
  CHECK(networks_cut > 450);
  CHECK(removed > 3000);
}

}  // namespace
}  // namespace vtrain
