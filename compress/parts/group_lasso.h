#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/parameter.h"

namespace vtrain {

/// Groups of weights that shall become zero together, and how much that is worth:
///   R = sum_g lambda_g ||w_g||_2
/// A group takes whole slices of one or several parameters. Groups of one object are disjoint.
class LassoGroups {
 public:
  /// Slices of a parameter along an axis: indices[g] are those of group g.
  struct Member {
    Parameter parameter;
    int axis = 0;
    std::vector<std::vector<int64_t>> indices;
  };
  enum class SizeWeight {
    kNone,  // as the paper has it: of large groups each weight is penalised less
    kSqrt   // lambda_g = lambda sqrt(size of g)
  };
  LassoGroups(std::vector<Member> members, double lambda, SizeWeight size_weight);

  int64_t count() const { return static_cast<int64_t>(lambdas_.size()); }
  /// ||w_g|| of each group, squares summed in double.
  std::vector<double> norms() const;
  double penalty() const;

  /// Adds dR/dw = lambda_g w / ||w_g|| to the gradients, 0 for a group of zeros. A parameter
  /// without a gradient is left alone.
  void add_gradient() const;
  /// The proximal step of R: w_g <- max(0, 1 - lr lambda_g / ||w_g||) w_g, in place. Groups that
  /// reach zero are zero exactly.
  void shrink(double lr) const;
  /// Sets single weights of |w| < eps to 0: steps along the gradient alone never reach it.
  void zero_small(double eps) const;

 private:
  /// One number per slice of a member: `inside` for its group, `outside` for slices of none.
  Tensor spread(const Member& member, const std::vector<double>& inside, double outside) const;

  std::vector<Member> members_;
  std::vector<double> lambdas_;  // by group
};

}  // namespace vtrain
