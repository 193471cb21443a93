#include "nn/module.h"

#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "nn/layers/block.h"

namespace vtrain {
namespace {

std::vector<std::string> paths(const Module& module) {
  std::vector<std::string> all;
  for (const Parameter& p : module.parameters()) all.push_back(p.path());
  return all;
}
using Lines = std::vector<std::string>;

/// x + bias, bias one number.
class Shift final : public Module {
 public:
  explicit Shift(double by) : bias_(add("bias", Parameter({1}, Init::zeros()))) {
    bias_.set(full({1}, by));
  }
  Variable forward(const Variable& x, const Pass& pass) override {
    return x + bias_.effective(pass);
  }

 private:
  Parameter bias_;
};

TEST_CASE("module: paths join the names of the way down, also when the root moves") {
  Mlp mlp(2, 3);
  CHECK(paths(mlp) == Lines{"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"});
  mlp.set_path("blocks.3.mlp");
  CHECK(paths(mlp) == Lines{"blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc1.bias",
                            "blocks.3.mlp.fc2.weight", "blocks.3.mlp.fc2.bias"});
  CHECK(mlp.child("act")->path() == "blocks.3.mlp.act");
  CHECK(mlp.child("nothing") == nullptr);
}

TEST_CASE("module: modules come parents first, in order of declaration") {
  Mlp mlp(2, 3);
  mlp.set_path("m");
  Lines found;
  for (const Module* const m : mlp.modules()) found.push_back(m->path());
  CHECK(found == Lines{"m", "m.fc1", "m.act", "m.fc2"});
}

TEST_CASE("module: a part at in runs before forward, one at out behind it") {
  Linear linear(1, 1);
  linear.set_path("l");
  linear.parameters()[0].set(full({1, 1}, 10));
  const Variable x(full({1, 1}, 1));
  linear.set_part("in", std::make_shared<Shift>(2));
  CHECK(linear(x, Pass{}).value().item() == 30);
  linear.set_part("out", std::make_shared<Shift>(0.5));
  CHECK(linear(x, Pass{}).value().item() == 30.5);
  CHECK(paths(linear) == Lines{"l.weight", "l.bias", "l.in.bias", "l.out.bias"});
  CHECK(linear.child("in")->path() == "l.in");
  linear.set_part("in", nullptr);
  CHECK(linear(x, Pass{}).value().item() == 10.5);
  CHECK_THROWS_WITH_AS(linear.set_part("mid", nullptr),
                       "module l: a part stands at in or out, not at mid", Error);
}

TEST_CASE("module: a module of tokens refuses a plain value, naming itself") {
  SelfAttention attention(4, 2);
  attention.set_path("blocks.0.attn");
  CHECK_THROWS_WITH_AS(attention(Variable(zeros({1, 2, 4})), Pass{}),
                       "module blocks.0.attn: works on tokens, not on a plain value", Error);
}

TEST_CASE("module: a plain module hands mask, bias and special tokens on") {
  Shift shift(1);
  Tokens t;
  t.x = Variable(zeros({1, 2, 1}));
  t.mask = Variable(ones({1, 2}));
  t.num_special = 1;
  t.mask_eps = 0.5;
  const Tokens u = shift(t, Pass{});
  CHECK(u.x.value().to_vector() == std::vector<double>{1, 1});
  CHECK(u.mask.id() == t.mask.id());
  CHECK(u.num_special == 1);
  CHECK(u.mask_eps == 0.5);
}

TEST_CASE("module: initial values depend on path and seed and on nothing else") {
  Linear a(3, 4), b(3, 4), elsewhere(3, 4);
  a.set_path("head");
  b.set_path("head");
  elsewhere.set_path("tail");
  a.initialise(1);
  elsewhere.initialise(1);
  b.initialise(1);
  const auto weight = [](const Linear& l) { return l.parameters()[0].value().to_vector(); };
  CHECK(weight(a) == weight(b));
  CHECK(weight(a) != weight(elsewhere));
  b.initialise(2);
  CHECK(weight(a) != weight(b));

  // The same layer as a part of something larger.
  Mlp mlp(3, 4);
  Linear alone(3, 4);
  alone.set_path("m.fc1");
  mlp.set_path("m");
  mlp.initialise(1);
  alone.initialise(1);
  CHECK(mlp.parameters()[0].value().to_vector() == weight(alone));
}

TEST_CASE("module: initial values have the distribution their Init names") {
  const auto values = [](const Init& init) {
    Tensor t = zeros({100, 100});
    initialise(t, init, Random(3, "", "init.test"));
    return t.to_vector();
  };
  const auto moments = [](const std::vector<double>& v) {
    double sum = 0, squares = 0;
    for (const double x : v) sum += x, squares += x * x;
    return std::pair(sum / static_cast<double>(v.size()), squares / static_cast<double>(v.size()));
  };
  // 10^4 draws: the mean is good to std / 100, the variance to 1.4 %; four of each are allowed.
  const auto [mean, square] = moments(values(Init::normal(0.02)));
  CHECK(std::abs(mean) < 4 * 0.02 / 100);
  CHECK(square == doctest::Approx(0.0004).epsilon(0.06));
  const std::vector<double> uniform = values(Init::uniform(0.3));
  const auto [centre, spread] = moments(uniform);
  CHECK(std::abs(centre) < 4 * 0.3 / std::sqrt(3.0) / 100);
  CHECK(spread == doctest::Approx(0.3 * 0.3 / 3).epsilon(0.06));
  for (const double x : uniform) CHECK_UNARY(std::abs(x) < 0.3);
  CHECK(values(Init::ones()) == std::vector<double>(10000, 1));
  CHECK(values(Init::zeros()) == std::vector<double>(10000, 0));
}

}  // namespace
}  // namespace vtrain
