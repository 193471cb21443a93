#pragma once

#include "compress/parts/dead_units.h"
#include "compress/parts/prunable_weights.h"
#include "compress/run.h"

namespace vtrain {

/// The rows that an unstructured method adds to the final report: zeros among prunable weights and
/// per layer, compression as the papers count it, and what the zeros would save in a file. Counted
/// before dead units went.
void report_sparsity(Run& run, const std::vector<PrunableWeight>& weights);
void report_dead_units(Run& run, const RemovedUnits& units);

/// Bytes of n f32 weights of which `nonzero` are not 0, as a bitmap and the nonzeros.
int64_t bitmap_bytes(int64_t n, int64_t nonzero);

}  // namespace vtrain
