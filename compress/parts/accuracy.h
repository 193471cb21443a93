#pragma once

#include <vector>

#include "nn/network.h"
#include "tensor/batch.h"

namespace vtrain {

/// What a network makes of images, its hooks on: a search compares candidates by it.
///   pass  Run::evaluation()
struct BatchAccuracy {
  double top1_percent = 0;
  double loss = 0;  // mean cross entropy with the true class
};
BatchAccuracy accuracy_on(Network& network, const std::vector<Batch>& batches,
                          const Pass& pass = {});

}  // namespace vtrain
