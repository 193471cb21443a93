#include "nn/init.h"

#include "tensor/ops/binary.h"

namespace vtrain {

void initialise(Tensor& value, const Init& init, const Random& stream) {
  const Shape flat{1, value.numel()};
  switch (init.kind) {
    case Init::Kind::kZeros:
      return value.fill(0);
    case Init::Kind::kOnes:
      return value.fill(1);
    case Init::Kind::kNormal:
      return value.copy_from(
          multiply(stream.normal(flat, {}, 0, value.dtype()), init.scale).reshape(value.shape()));
    case Init::Kind::kUniform: {
      const Tensor u = add(stream.uniform(flat, {}, 0, value.dtype()), -0.5);
      return value.copy_from(multiply(u, 2 * init.scale).reshape(value.shape()));
    }
  }
}

}  // namespace vtrain
