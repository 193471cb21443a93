#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vtrain {

/// What a test of a distillation method gives: logits of both networks, the same for every image.
struct GivenLogits {
  std::vector<double> student, teacher;  // (K)
  std::vector<double> labels = {0};      // one per image
  int64_t epoch = 0;
};

/// What one step made of them.
struct StepOutcome {
  double task = 0, total = 0;
  std::map<std::string, double> terms;  // by name without the method's
  std::vector<double> gradient;         // of the total, by the student's logits
};

/// The loss of one method in one step, without an update. Both networks are resnet8_28 for K
/// classes with weights of zeros: the last layer's bias is what they say of any image, and its
/// gradient that of the logits.   knobs: flow YAML without braces, "teacher: given" is there
StepOutcome step_of(const std::string& method, const std::string& knobs, const GivenLogits& given);

/// The reference sample of one image, label 0: student logits (1, -2, 3), teacher's probabilities
/// (0.7, 0.2, 0.1). Cross entropy 2.1328452, divergence 1.7310267.
GivenLogits reference_logits();

/// softmax(logits / T) in double.
std::vector<double> softened(const std::vector<double>& logits, double temperature = 1);
/// sum of p_k log(p_k / q_k).
double plain_divergence(const std::vector<double>& p, const std::vector<double>& q);

/// Overrides for TestPhase: vgg_bn_28 in the phase `dense`, which teaches, and a fresh resnet8_28
/// in `sparse`, which learns.
std::vector<std::string> student_and_teacher(const std::vector<std::string>& more = {});

/// Three updates under `compress` on the tests' second device and on the CPU: the same bits.
void check_same_on_both_devices(const std::string& compress);

/// Three updates under `compress` move every parameter and buffer as `reference` does, to the bit.
void check_same_updates(const std::string& compress, const std::string& reference,
                        const std::vector<std::string>& overrides);

/// Runs the recipe on synthetic images to its end, and again killed at each of `steps`, counted
/// over all phases (16 an epoch); both end in the same bytes of `files` and metrics.csv.
void check_killed_is_uninterrupted(const std::string& recipe,
                                   const std::vector<std::string>& overrides,
                                   const std::vector<int64_t>& steps,
                                   const std::vector<std::string>& files);

}  // namespace vtrain
