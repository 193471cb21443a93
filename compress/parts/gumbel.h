#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// A hard two-class Gumbel-softmax sample with straight-through gradient. Jang, Gu, Poole, ICLR
/// 2017, arXiv:1611.01144.
///   decision = 1 if (yes - no + noise) / tau >= 0 else 0 (a tie keeps);   gradient that of
///   sigmoid((yes - no + noise) / tau) yes, no    scores of the two classes, any shape noise the
///   difference of two Gumbel draws, which is logistic (Random::logistic); zeros for no noise
/// The difference takes one draw instead of two and has the same distribution.
Variable gumbel_decision(const Variable& yes, const Variable& no, const Tensor& noise, double tau);

}  // namespace vtrain
