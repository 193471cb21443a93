#pragma once

#include <memory>
#include <vector>

#include "nn/layers/linear.h"

namespace vtrain {

/// Tells a teacher's features from a student's: linear layers with leaky ReLU of slope 0.2 between
/// them. Its logit is above 0 for what it takes for the teacher's. Goodfellow et al., "Generative
/// Adversarial Nets", NIPS 2014, arXiv:1406.2661.
///   h (N, C) -> (N, 1)
/// It has no normalisation, whose statistics would mix the two, and no activation behind the last
/// layer. Weights start normal with variance 2 / inputs, biases at 0.
class Discriminator final : public Module {
 public:
  Discriminator(int64_t in, const std::vector<int64_t>& hidden);
  Variable forward(const Variable& h, const Pass& pass) override;

 private:
  using Module::add;
  std::vector<std::unique_ptr<Linear>> layers_;
};

enum class HelperWeights { kTrained, kConstant };
/// The pass as the losses below are computed: in f32. With constant weights a gradient goes through
/// a module to its input and leaves none in it.
Pass loss_pass(const Pass& pass, HelperWeights weights);

/// (): mean softplus(-a) + mean softplus(b), the cross entropy of a discriminator's decisions.
///   of_teacher a, of_student b  its logits (N, 1)
/// 2 log 2 where it cannot tell them apart. softplus(x) = log(1 + exp(x)), without overflow.
Variable discriminator_loss(const Variable& of_teacher, const Variable& of_student);

/// What a student gains by being taken for the teacher. `kMinimax` is the game's own, whose
/// gradient vanishes where the discriminator is sure; `kNonSaturating` is large there.
enum class AdversarialForm { kNonSaturating, kMinimax };
/// (): mean softplus(-b), or -mean softplus(b).   of_student b  logits (N, 1)
Variable deception_loss(const Variable& of_student, AdversarialForm form);

/// Share of right decisions, both sides weighing the same; a logit of 0 says "teacher".
double discriminator_accuracy(const Tensor& of_teacher, const Tensor& of_student);

}  // namespace vtrain
