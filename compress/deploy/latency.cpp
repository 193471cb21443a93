#include "compress/deploy/latency.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "compress/deploy/plan.h"
#include "tensor/choices.h"
#include "tensor/random.h"

namespace vtrain {

double measure_latency_ms(Network& network) {
  using Clock = std::chrono::steady_clock;
  constexpr int kWarm = 3, kMost = 101;
  constexpr double kSeconds = 0.4;  // enough for a median that repeats within a few percent
  Plan plan(network);
  const ModelOptions& o = network.architecture().options;
  const Tensor image = Random(0, "", "latency")
                           .normal({1, o.channels, o.image_size, o.image_size}, {})
                           .channels_last();
  for (int i = 0; i < kWarm; ++i) plan.run(image);
  std::vector<double> seconds;
  const auto started = Clock::now();
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  while (seconds.size() < kMost && (seconds.size() < 5 || since(started) < kSeconds)) {
    const auto begin = Clock::now();
    plan.run(image);
    seconds.push_back(since(begin));
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle * 1e3;
}

double MeasuredLatency::milliseconds(const Cut& cut) const {
  const std::unique_ptr<Network> copy = network_.clone();
  copy->move_to(Device{});
  copy->cut(groups_.plan(cut));
  const std::string record = copy->architecture().to_json();
  const std::string key =
      str("latency us ", copy->architecture().model, ' ', XXH64(record.data(), record.size(), 0));
  Choices& choices = Choices::of_process();
  const Choices::Table table = choices.table();
  if (const auto found = table.find(key); found != table.end()) return found->second * 1e-3;
  const int microseconds = static_cast<int>(std::lround(measure_latency_ms(*copy) * 1e3));
  choices.add({{key, microseconds}});
  return microseconds * 1e-3;
}

}  // namespace vtrain
