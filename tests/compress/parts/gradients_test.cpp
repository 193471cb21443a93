#include "compress/parts/gradients.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"

namespace vtrain {
namespace {

TEST_CASE("gradients: those of a loss on the side, and those of the step stay as they were") {
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  network.initialise(1);
  const Tensor images = Random(2, "", "images").normal({3, 1, 28, 28}, {}).channels_last();
  const auto loss = [&] {
    Pass pass;
    pass.wants_grad = true;
    return sum(square(network.forward(images, pass).logits));
  };
  const Parameter weight = network.parameter("features.4.weight"),
                  other = network.parameter("features.8.weight"),
                  unread = network.parameter("features.1.running_mean");
  backward(loss());
  const Tensor own = weight.grad().clone();
  other.clear_grad();

  const std::vector<Tensor> got = gradients(network, loss() * 2, {weight, unread});
  CHECK(weight.grad().to_vector() == own.to_vector());
  CHECK(!other.grad().defined());
  const std::vector<double> once = own.to_vector(), twice = got[0].to_vector();
  double sum_of_sizes = 0;
  for (size_t i = 0; i < once.size(); ++i) {
    CHECK(twice[i] == doctest::Approx(2 * once[i]));
    sum_of_sizes += std::abs(once[i]);
  }
  CHECK(sum_of_sizes > 0);
  CHECK(got[1].to_vector() == std::vector<double>(16, 0.0));
}

}  // namespace
}  // namespace vtrain
