#include "compress/parts/teacher.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "autograd/arithmetic.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

std::unique_ptr<Network> micro() {
  auto network = std::make_unique<Network>(
      Architecture{.model = "deit_micro_patch4_28", .options = {.drop_path = 0.5}, .parts = {}});
  network->initialise(1);
  return network;
}
Tensor images(int64_t step) { return Random(3, "", "images").normal({2, 1, 28, 28}, {step, 0}); }

/// A teacher that counts its forward passes.
struct Counted {
  Teacher teacher{micro()};
  int runs = 0;
  Counted() {
    teacher.network().hooks().transform_value(
        "patch_embed.in", {Slot::kCompute, "counter", [this](const Variable& x, const Pass&) {
                             ++runs;
                             return x;
                           }});
  }
};

TEST_CASE("teacher: it runs once a batch, and only if asked") {
  Counted c;
  c.teacher.watch("norm.out");
  c.teacher.show(images(0));
  c.teacher.show(images(1));
  CHECK(c.runs == 0);
  const Tensor logits = c.teacher.logits();
  c.teacher.logits();
  c.teacher.value("norm.out");
  CHECK(c.runs == 1);
  c.teacher.show(images(2));
  CHECK(c.runs == 1);
  c.teacher.value("norm.out");
  c.teacher.logits();
  CHECK(c.runs == 2);
}

TEST_CASE("teacher: what it says is of the images shown last") {
  Teacher teacher(micro());
  const std::unique_ptr<Network> same = micro();
  for (const int64_t step : {0, 1}) {
    teacher.show(images(step));
    CHECK(teacher.logits().to_vector() == same->logits(images(step)).to_vector());
  }
}

TEST_CASE("teacher: a watched place gives its value, (N, L, C) of the last norm") {
  Teacher teacher(micro());
  teacher.watch("norm.out");
  teacher.watch("norm.out");  // by a second method: no second tap
  teacher.show(images(0));
  CHECK(teacher.value("norm.out").shape() == Shape{2, 50, 96});
  CHECK(teacher.network().hooks().describe().size() == 1);
  CHECK_THROWS_AS(teacher.value("blocks.0.out"), std::out_of_range);  // nobody watches there
}

TEST_CASE("teacher: it is in evaluation mode and keeps no tape") {
  Teacher teacher(micro());
  bool is_training = true, wants_grad = true;
  teacher.network().hooks().transform_value(
      "norm.out", {Slot::kCompute, "test", [&](const Variable& x, const Pass& pass) {
                     is_training = pass.is_training;
                     wants_grad = x.requires_grad();
                     return x;
                   }});
  teacher.show(images(0));
  teacher.logits();
  CHECK_FALSE(is_training);
  CHECK_FALSE(wants_grad);
}

}  // namespace
}  // namespace vtrain
