#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/train/test_phase.h"

namespace vtrain {

/// A phase of a small network with the methods of `compress`, from a dense phase of the same model.
TestPhase pruning_phase(const std::string& compress, std::vector<std::string> overrides = {},
                        const std::string& model = "vgg_bn_28");

/// Updates to the end of the epoch; the next epoch begins.
void finish_epoch(TestPhase& phase);

/// Every tensor of the network, on the host.
std::map<std::string, std::vector<double>> values_of(TestPhase& phase);
std::vector<double> values_of(TestPhase& phase, const std::string& parameter);
int64_t zeros_in(const std::vector<double>& values);

/// Runs the recipe whole, and again with a kill -9 at each of these steps, and checks that the last
/// phase, `pruned` or so, ends in the same weights, metrics and report. The recipe trains `dense`
/// for one epoch and that one for three, four steps each, on synthetic images.
void check_killed_is_whole(const std::string& recipe, const std::vector<std::string>& overrides,
                           const std::vector<int64_t>& kill_at,
                           const std::string& phase = "pruned");

/// Trains on the CPU and on the tests' second device and checks that networks end in the same bits.
void check_same_on_fake_device(const std::string& compress,
                               const std::vector<std::string>& overrides = {});

}  // namespace vtrain
