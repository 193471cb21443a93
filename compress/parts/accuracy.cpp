#include "compress/parts/accuracy.h"

#include <algorithm>

#include "tensor/ops/cross_entropy.h"
#include "tensor/ops/reduce.h"

namespace vtrain {

BatchAccuracy accuracy_on(Network& network, const std::vector<Batch>& batches, const Pass& pass) {
  int64_t right = 0, samples = 0;
  double loss = 0;
  for (const Batch& batch : batches) {
    Pass own = pass;
    own.cache = std::make_shared<Pass::Cache>();
    own.first_sample = samples;
    const Tensor logits = network.forward(batch.images, own).logits.value();
    for (const int64_t rank : label_ranks(logits, batch.labels.to(logits.device())))
      right += rank == 0 ? 1 : 0;
    for (const double l : cross_entropy(logits, batch.targets.to(logits.device())).loss.to_vector())
      loss += l;
    samples += batch.size();
  }
  const double n = static_cast<double>(std::max<int64_t>(samples, 1));
  return {100 * static_cast<double>(right) / n, loss / n};
}

}  // namespace vtrain
