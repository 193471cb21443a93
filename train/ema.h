#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/parameter.h"

namespace vtrain {

/// Moving average of the weights: average = decay * average + (1 - decay) * weight after every
/// update. Polyak, Juditsky 1992.
class Ema {
 public:
  Ema(double decay, const std::vector<Parameter>& parameters);
  void update();

  /// Follows a cut of the parameter's axis (nn/network.h).
  void cut(const Parameter& parameter, int axis, const std::vector<int64_t>& keep);
  /// The parameter is gone.
  void forget(const Parameter& parameter);

  std::map<std::string, Tensor> state() const;  // by parameter path
  void load_state(const std::map<std::string, Tensor>& tensors, const std::string& from);

  /// While it lives, the parameters hold the averages.
  class Applied {
   public:
    explicit Applied(Ema* ema);  // nullptr: nothing happens
    ~Applied();
    Applied(const Applied&) = delete;
    Applied& operator=(const Applied&) = delete;
    void keep() { ema_ = nullptr; }  // the averages stay

   private:
    Ema* ema_;
    std::vector<Tensor> raw_;
  };

 private:
  double decay_;
  std::vector<Parameter> parameters_;
  std::vector<Tensor> averages_;
};

}  // namespace vtrain
