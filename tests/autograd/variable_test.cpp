#include "autograd/variable.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/linear.h"
#include "autograd/shape.h"
#include "tensor/device_memory.h"
#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

Variable leaf(std::initializer_list<double> values) {
  return Variable::leaf(from_values({static_cast<int64_t>(values.size())}, values));
}

TEST_CASE("variable: the gradient of a value that is used twice is the sum of both uses") {
  const Variable x = leaf({2, 3});
  backward(sum(x * x + x));
  CHECK(x.grad().to_vector() == Values{5, 7});
}

TEST_CASE("variable: a value used several times by one op counts every time") {
  const Variable x = leaf({2, 3});
  backward(concat({x, x, x}, 0), from_values({6}, {1, 2, 10, 20, 100, 200}));
  CHECK(x.grad().to_vector() == Values{111, 222});
}

// x -> a = 2x -> b = a^2, c = 3a -> b c = 12 x^2 * x * ... : d(4x^2 * 6x) = 72 x^2
TEST_CASE("variable: in a diamond the shared value is walked once, after both branches") {
  const Variable x = leaf({1, 2});
  const Variable a = x * 2;
  backward(sum(square(a) * (a * 3)));
  CHECK(x.grad().to_vector() == Values{72, 288});
}

TEST_CASE("variable: a branch that is longer than the other does not send its part too early") {
  const Variable x = leaf({3});
  Variable slow = x;
  for (int i = 0; i < 5; ++i) slow = slow * 2;
  const Variable y = x + slow;  // 33 x, and x is an input of the last op too
  backward(y * y);
  CHECK(x.grad().item() == 2 * 33 * 33 * 3);
}

TEST_CASE("variable: gradients of leaves accumulate over passes until they are cleared") {
  Variable x = leaf({2, 3});
  backward(sum(square(x)));
  CHECK(x.grad().to_vector() == Values{4, 6});
  const Tensor first = x.grad();
  backward(sum(x));
  CHECK(x.grad().to_vector() == Values{5, 7});
  backward(sum(x));
  CHECK(x.grad().to_vector() == Values{6, 8});
  CHECK(first.to_vector() == Values{4, 6});  // who kept the old gradient keeps its value
  x.clear_grad();
  CHECK_FALSE(x.grad().defined());
  backward(sum(x));
  CHECK(x.grad().to_vector() == Values{1, 1});
}

TEST_CASE("variable: leaves that received one and the same gradient do not share later additions") {
  const Variable a = leaf({1}), b = leaf({1});
  backward(a + b);  // both get dy itself
  backward(a * 5);
  backward(a * 5);
  CHECK(a.grad().item() == 11);
  CHECK(b.grad().item() == 1);
}

TEST_CASE("variable: a seed given to backward is never edited") {
  const Variable x = leaf({1, 2});
  const Tensor seed = from_values({2}, {3, 4});
  backward(x, seed);
  backward(x, seed);
  backward(x, seed);
  CHECK(x.grad().to_vector() == Values{9, 12});
  CHECK(seed.to_vector() == Values{3, 4});
}

TEST_CASE("variable: a loss with several elements is refused") {
  CHECK_THROWS_WITH_AS(backward(leaf({1, 2})), "[backward] loss (2): expected one element",
                       ShapeError);
  CHECK_THROWS_WITH_AS(backward(leaf({1, 2}), ones({3})),
                       "[backward] seed (3): expected the shape of output (2)", ShapeError);
}

TEST_CASE("variable: a saved value that was edited in place is refused by backward") {
  const Variable x = leaf({2, 3}), w = leaf({1, 1});
  const Variable loss = sum(x * w);
  Tensor edited = x.value();
  edited.fill(7);
  CHECK_THROWS_WITH_AS(backward(loss),
                       "[backward] a saved value (2) was edited in place after the forward pass",
                       Error);
}

TEST_CASE("variable: an edit through a view, an optimizer's or an accumulation counts too") {
  const auto refuses = [](const auto& edit) {
    const Variable x = leaf({2, 3});
    const Variable loss = sum(square(x));
    Tensor value = x.value();
    edit(value);
    CHECK_THROWS_AS(backward(loss), Error);
  };
  refuses([](Tensor& v) { v.slice(0, 1, 2).fill(1); });
  refuses([](Tensor& v) { v.reshape({1, 2}).copy_from(ones({1, 2})); });
  refuses([](Tensor& v) { accumulate(v, ones({2})); });
  const Variable x = leaf({2, 3});
  const Variable loss = sum(x + 1);  // saves nothing, so an edit is harmless
  Tensor value = x.value();
  value.fill(1);
  CHECK_NOTHROW(backward(loss));
}

TEST_CASE("variable: constants keep no tape") {
  bool alive = true;
  {
    const Variable x(from_values({2}, {1, 2}));
    struct Witness {
      bool* alive;
      explicit Witness(bool* a) : alive(a) {}
      Witness(const Witness&) = delete;
      Witness& operator=(const Witness&) = delete;
      ~Witness() { *alive = false; }
    };
    const auto witness = std::make_shared<Witness>(&alive);
    const Variable y = Variable::from({"witness"}, x.value(), {x},
                                      [witness](const Tensor& dy) { return Grads{dy}; });
    CHECK_FALSE(y.requires_grad());
    CHECK(witness.use_count() == 1);  // the gradient function is gone already
    CHECK_NOTHROW(backward(sum(y)));
    CHECK_FALSE(y.grad().defined());
    CHECK_FALSE(x.grad().defined());
  }
  CHECK_FALSE(alive);
}

TEST_CASE("variable: the tape keeps no value that no gradient needs") {
  const Variable x = Variable::leaf(zeros({1 << 16}));
  const int64_t before = memory_use(Device{}).in_use;
  const Variable y = sum(x + x + x + x);  // the gradient of a sum needs none of its terms
  CHECK(memory_use(Device{}).in_use - before < x.value().bytes());
  backward(y);
  CHECK(x.grad().to_vector()[7] == 4);
}

TEST_CASE(
    "variable: a value that can be computed again is not kept, and the gradient is the same") {
  Variable w = Variable::leaf(from_values({2, 3}, {1, -2, 3, 0.5, 4, -1}));
  const Tensor start = from_values({4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 0, 2});
  const Variable x = Variable::leaf(start);
  int times = 0;
  std::weak_ptr<int> life;
  Variable loss;
  {
    Variable doubled = x * 2;
    const auto token = std::make_shared<int>(0);
    life = token;
    doubled.set_again([&times, start, token] {
      ++times;
      return multiply(start, 2);
    });
    loss = sum(square(linear(doubled, w, {})));
  }
  CHECK(times == 0);
  CHECK(!life.expired());
  backward(loss);
  CHECK(times == 1);
  CHECK(life.expired());  // freed on the way
  const Tensor remade = w.grad().clone();
  w.clear_grad();
  backward(sum(square(linear(x * 2, w, {}))));
  CHECK(w.grad().to_vector() == remade.to_vector());
}

TEST_CASE("variable: backward frees what gradient functions kept") {
  const Variable x = leaf({1, 2});
  const auto kept = std::make_shared<int>(0);
  const Variable y =
      Variable::from({"kept"}, x.value(), {x}, [kept](const Tensor& dy) { return Grads{dy}; });
  const Variable loss = sum(y);
  CHECK(kept.use_count() == 2);
  backward(loss);
  CHECK(kept.use_count() == 1);
  CHECK_FALSE(y.grad().defined());  // only leaves keep gradients
}

TEST_CASE("variable: a graph that was walked already is refused, not silently skipped") {
  const Variable x = leaf({1, 2});
  const Variable y = square(x);
  const Variable loss = sum(y);
  backward(loss);
  CHECK_THROWS_WITH_AS(backward(loss), "[backward] sum: this graph was walked before", Error);
  CHECK_THROWS_WITH_AS(backward(sum(y)), "[backward] square: this graph was walked before", Error);
  CHECK(x.grad().to_vector() == Values{2, 4});
}

TEST_CASE("variable: a detached value is a constant with the same elements") {
  const Variable x = leaf({3});
  const Variable y = x * x.detach();
  backward(y);
  CHECK(x.grad().item() == 3);
  CHECK(x.detach().value().shares_storage_with(x.value()));
  CHECK_FALSE(x.detach().requires_grad());
}

TEST_CASE("variable: a graph deeper than the call stack is walked and freed") {
  const Variable x = leaf({1});
  {
    Variable y = x;
    for (int i = 0; i < 200000; ++i) y = y + 0.0;
    backward(y);
    CHECK(x.grad().item() == 1);
  }
  Variable unwalked = x;
  for (int i = 0; i < 200000; ++i) unwalked = unwalked + 0.0;
  unwalked = Variable();  // freed without a backward
  CHECK(x.grad().item() == 1);
}

TEST_CASE("variable: a gradient function of the wrong count or shape is named") {
  const Variable x = leaf({1, 2});
  const auto with = [&x](GradFunction f) {
    return Variable::from({"odd"}, x.value(), {x}, std::move(f));
  };
  CHECK_THROWS_WITH_AS(backward(sum(with([](const Tensor& dy) {
                         return Grads{dy, dy};
                       }))),
                       "[odd] backward gave 2 gradients for 1 inputs", Error);
  CHECK_THROWS_WITH_AS(backward(sum(with([](const Tensor&) { return Grads{ones({3})}; }))),
                       "[odd] gradient 0 (3): expected (2)", ShapeError);
}

TEST_CASE("variable: an undefined variable has no value") {
  const Variable none;
  CHECK_FALSE(none.defined());
  CHECK_FALSE(none.requires_grad());
  CHECK_THROWS_WITH_AS(none.value(), "[value] the variable is undefined", ShapeError);
  CHECK_THROWS_WITH_AS(none.grad(), "[grad] the variable is undefined", ShapeError);
  CHECK_FALSE(none.detach().defined());
}

}  // namespace
}  // namespace vtrain
