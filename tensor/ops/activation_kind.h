#pragma once

namespace vtrain {

/// Element-wise non-linearities, f(x):
///   relu6         min(max(x, 0), 6)                          Howard et al., arXiv:1704.04861
///   leaky_relu    x where x > 0, else slope * x              Maas, Hannun, Ng, ICML 2013
///   sigmoid       1 / (1 + exp(-x))
///   tanh          tanh(x)
///   silu          x * sigmoid(x)                             arXiv:1702.03118, arXiv:1710.05941
///   gelu_tanh     0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))           arXiv:1606.08415
///   hard_sigmoid  relu6(x + 3) / 6                           Howard et al., arXiv:1905.02244
///   hard_swish    x * relu6(x + 3) / 6                       the same
/// At a corner the gradient is that of the flat side: 0 at 0 and 6 (relu6), at -3 and 3
/// (hard_sigmoid), at -3 (hard_swish, whose other corner, 3, has gradient 1), slope at 0
/// (leaky_relu).
enum class ActivationKind {
  kRelu6,
  kLeakyRelu,
  kSigmoid,
  kTanh,
  kSilu,
  kGeluTanh,
  kHardSigmoid,
  kHardSwish
};

}  // namespace vtrain
