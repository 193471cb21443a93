// Times every distinct convolution and linear layer of three networks: forward, dx and dw, in f32
// and bf16, for each implementation that tensor/ops/conv2d_cpu.cpp may choose.
//
//     cmake -S . -B build -DVTRAIN_BENCH=ON && ninja -C build conv_shapes && build/conv_shapes
//
// A line: network, layer, dtype, then per pass the milliseconds of each implementation, in the
// order of preference, and the GFLOP/s of the fastest.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/choices.h"
#include "tensor/onednn.h"
#include "tensor/ops/conv2d.h"
#include "tensor/ops/matmul.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

struct Layer {
  const char* network;
  int64_t n, in, out, extent, kernel, stride, groups;
};

std::vector<Layer> layers() {
  std::vector<Layer> all{{"resnet50", 16, 3, 64, 224, 7, 2, 1}};
  const auto add = [&](const Layer& layer) {
    const auto same = [&](const Layer& o) {
      return std::string_view(o.network) == layer.network && o.in == layer.in &&
             o.out == layer.out && o.extent == layer.extent && o.kernel == layer.kernel &&
             o.stride == layer.stride && o.groups == layer.groups;
    };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(layer);
  };
  int64_t in = 64, extent = 56;
  for (int64_t stage = 0; stage < 4; ++stage) {
    const int64_t width = int64_t{64} << stage, stride = stage == 0 ? 1 : 2,
                  inner = extent / stride;
    add({"resnet50", 16, in, width, extent, 1, 1, 1});
    add({"resnet50", 16, width, width, extent, 3, stride, 1});
    add({"resnet50", 16, width, 4 * width, inner, 1, 1, 1});
    add({"resnet50", 16, in, 4 * width, extent, 1, stride, 1});
    add({"resnet50", 16, 4 * width, width, inner, 1, 1, 1});
    add({"resnet50", 16, width, width, inner, 3, 1, 1});
    in = 4 * width;
    extent = inner;
  }
  add({"mobilenetv2", 16, 3, 32, 224, 3, 2, 1});
  add({"mobilenetv2", 16, 32, 32, 112, 3, 1, 32});
  add({"mobilenetv2", 16, 32, 16, 112, 1, 1, 1});
  struct Stage {
    int64_t out, repeats, stride;
  };
  in = 16;
  extent = 112;
  for (const Stage& s :
       {Stage{24, 2, 2}, {32, 3, 2}, {64, 4, 2}, {96, 3, 1}, {160, 3, 2}, {320, 1, 1}}) {
    for (int64_t i = 0; i < s.repeats; ++i) {
      const int64_t stride = i == 0 ? s.stride : 1, hidden = 6 * in;
      add({"mobilenetv2", 16, in, hidden, extent, 1, 1, 1});
      add({"mobilenetv2", 16, hidden, hidden, extent, 3, stride, hidden});
      extent /= stride;
      add({"mobilenetv2", 16, hidden, s.out, extent, 1, 1, 1});
      in = s.out;
    }
  }
  add({"mobilenetv2", 16, 320, 1280, 7, 1, 1, 1});
  add({"resnet20", 128, 3, 16, 32, 3, 1, 1});
  add({"resnet20", 128, 16, 16, 32, 3, 1, 1});
  add({"resnet20", 128, 16, 32, 32, 3, 2, 1});
  add({"resnet20", 128, 32, 32, 16, 3, 1, 1});
  add({"resnet20", 128, 32, 64, 16, 3, 2, 1});
  add({"resnet20", 128, 64, 64, 8, 3, 1, 1});
  return all;
}

/// Best of as many runs as fit a tenth of a second, five at least: on a shared machine most are
/// disturbed. One run is enough to see that `rival` wins.
double milliseconds(const std::function<void()>& f, double rival) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBudget = 100;
  f();
  double best = 1e9, total = 0;
  for (int i = 0; i < 5 || total < kBudget; ++i) {
    const auto begin = Clock::now();
    f();
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    best = std::min(best, ms);
    total += ms;
    if (best > 4 * rival) break;
  }
  return best;
}

/// Times f with each implementation pinned; all entries of the table that f asks for are set alike.
void time_pass(const char* name, double flop, const std::function<void()>& f) {
  Choices& choices = Choices::of_process();
  choices.clear();
  choices.set_measuring(true);
  f();  // to learn which choices it asks for
  choices.set_measuring(false);
  Choices::Table table = choices.table();
  double best = 1e9;
  std::printf("  %s", name);
  for (int i = 0; i < (table.empty() ? 1 : 3); ++i) {
    for (auto& [key, index] : table) index = i;
    choices.clear();
    choices.add(table);
    const double ms = milliseconds(f, best);
    best = std::min(best, ms);
    std::printf(" %7.2f", ms);
  }
  std::printf(" %6.0f", flop / best / 1e6);
}

Tensor random(const Shape& shape, DType dtype) {
  return Random(1, "", "bench").normal(shape, {}).to(dtype);
}

void run(const Layer& l, DType dtype) {
  const Tensor x = random({l.n, l.in, l.extent, l.extent}, dtype).channels_last();
  const Tensor w = random({l.out, l.in / l.groups, l.kernel, l.kernel}, dtype);
  const Conv2dOptions options{.stride = l.stride, .padding = l.kernel / 2, .groups = l.groups};
  const Tensor y = conv2d(x, w, {}, options), dy = random(y.shape(), dtype).channels_last();
  const int64_t products = w.numel() / l.out;
  const double flop = 2.0 * static_cast<double>(y.numel() * products);
  std::printf("%-11s %4ld>%-4ld %3ld k%ld s%ld %-4s %s", l.network, l.in, l.out, l.extent, l.kernel,
              l.stride, l.groups > 1 ? "dw" : "", dtype == DType::f32 ? "f32 " : "bf16");
  time_pass("y", flop, [&] { conv2d(x, w, {}, options); });
  time_pass("dx", flop, [&] { conv2d_grad_x(dy, w, x.shape(), options); });
  time_pass("dw", flop, [&] { conv2d_grad_w(dy, x, w.shape(), options); });
  std::printf("\n");
  std::fflush(stdout);
}

void run_linear(const char* network, int64_t rows, int64_t in, int64_t out, DType dtype) {
  const Tensor x = random({rows, in}, dtype), w = random({out, in}, dtype),
               dy = random({rows, out}, dtype);
  const double flop = 2.0 * static_cast<double>(rows * in * out);
  std::printf("%-11s linear %ld x %ld>%ld %s", network, rows, in, out,
              dtype == DType::f32 ? "f32 " : "bf16");
  time_pass("y", flop, [&] { linear(x, w, {}); });
  time_pass("dx", flop, [&] { linear_grad_x(dy, w); });
  time_pass("dw", flop, [&] { linear_grad_w(dy, x); });
  std::printf("\n");
}

}  // namespace
}  // namespace vtrain

/// Arguments: words; a layer runs if its network, its channels (256>256) or "dw" is among
/// them; all run without any.
int main(int argc, char** argv) {
  using namespace vtrain;
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  const auto is_wanted = [&](std::string_view word) {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), word) != wanted.end();
  };
  std::printf("oneDNN %s, %d threads\n", onednn::version().c_str(), num_threads());
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const Layer& l : layers()) {
      if (is_wanted(l.network) || (l.groups > 1 && is_wanted("dw")) ||
          is_wanted(str(l.in, '>', l.out)))
        run(l, dtype);
    }
    if (is_wanted("linear")) {
      run_linear("resnet50", 16, 2048, 1000, dtype);
      run_linear("mobilenetv2", 16, 1280, 1000, dtype);
      run_linear("resnet20", 128, 64, 10, dtype);
      run_linear("vit_s", 3152, 384, 1536, dtype);
      run_linear("vit_s", 3152, 1536, 384, dtype);
    }
  }
}
