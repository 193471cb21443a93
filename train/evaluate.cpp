#include "train/evaluate.h"

#include <algorithm>

#include "tensor/ops/cross_entropy.h"
#include "tensor/ops/reduce.h"

namespace vtrain {

Accuracy evaluate(Network& network, Loader& loader,
                  const std::function<void(const Pass&)>& before) {
  return evaluate(
      [&](const Tensor& images, int64_t first_sample) {
        Pass pass;
        pass.first_sample = first_sample;
        if (before) before(pass);
        return network.forward(images, pass).logits.value();
      },
      loader);
}

Accuracy evaluate(const LogitsOf& logits_of, Loader& loader) {
  Accuracy result;
  int64_t top1 = 0, top5 = 0;
  double loss = 0;
  loader.start(0);
  while (const std::optional<Batch> batch = loader.next()) {
    const Tensor logits = logits_of(batch->images, result.samples);
    for (const int64_t rank : label_ranks(logits, batch->labels)) {
      top1 += rank < 1 ? 1 : 0;
      top5 += rank < 5 ? 1 : 0;
    }
    for (const double l :
         cross_entropy(logits, batch->targets.to(logits.device())).loss.to_vector())
      loss += l;
    result.samples += batch->size();
  }
  const double n = static_cast<double>(std::max<int64_t>(result.samples, 1));
  result.top1_percent = 100.0 * static_cast<double>(top1) / n;
  result.top5_percent = 100.0 * static_cast<double>(top5) / n;
  result.loss = loss / n;
  return result;
}

}  // namespace vtrain
