#include "nn/layers/batch_norm.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/arithmetic.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

TEST_CASE("batch norm layer: frozen running statistics serve training too, and stay") {
  BatchNorm2d norm(3);
  norm.set_path("bn");
  norm.initialise(1);
  const Variable x(Random(1, "", "bn").normal({4, 3, 2, 2}, {}));
  Pass training;
  training.is_training = true;
  norm(x, training);  // moves the statistics away from 0 and 1
  std::vector<Parameter> buffers;
  for (const Parameter& parameter : norm.parameters())
    if (parameter.is_buffer()) buffers.push_back(parameter);
  REQUIRE(buffers.size() == 2);
  const std::vector<double> expected = norm(x, Pass{}).value().to_vector();
  CHECK(norm(x, training).value().to_vector() != expected);

  const std::vector<double> evaluated = norm(x, Pass{}).value().to_vector();
  for (const Parameter& buffer : buffers) buffer.freeze(true);
  const std::vector<double> mean = buffers[0].value().to_vector();
  CHECK(norm(x, training).value().to_vector() == evaluated);
  CHECK(buffers[0].value().to_vector() == mean);
  for (const Parameter& buffer : buffers) buffer.freeze(false);
  CHECK(norm(x, training).value().to_vector() != evaluated);
  CHECK(buffers[0].value().to_vector() != mean);
}

}  // namespace
}  // namespace vtrain
