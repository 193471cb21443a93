#pragma once

#include <string>

#include "compress/step.h"

namespace vtrain {

/// Learning from a teacher's softened classes: Hinton, Vinyals, Dean, "Distilling the Knowledge in
/// a Neural Network", NIPS 2014 Deep Learning Workshop, arXiv:1503.02531.
struct SoftTargets {
  double temperature = 4;  // T > 0, divides the logits of both networks
  bool scales_t2 = true;   // times T^2, which keeps the gradient's size when T changes
};

/// (): T^2 KL(p || q), p = softmax(teacher / T), q = softmax(student / T), summed over classes and
/// averaged over the batch. Code that averages over all N K elements has 1 / K of it.
///   teacher, student  logits (N, K); no gradient reaches the teacher
/// Its gradient with respect to the student's logits is (T / N) (q - p).
Variable soft_target_loss(const Tensor& teacher, const Variable& student, const SoftTargets& how);

/// Makes `weight` times the task loss the task loss. At 1 nothing is done, so that the other
/// methods of the phase may still replace it.
void weigh_task(const Step& step, double weight);

/// "resnet20, 272,474 parameters": what reports call a network.
std::string description_of(Network& network);

}  // namespace vtrain
