#include "nn/hooks.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "nn/module.h"

namespace vtrain {
namespace {

/// y = x * weight, and a child's place to hang on.
class Scale final : public Module {
 public:
  Scale() : weight_(add("weight", Parameter({1}, Init::ones()))) { weight_.set(full({1}, 2)); }
  Variable forward(const Variable& x, const Pass& pass) override {
    return x * weight_.effective(pass);
  }
  Parameter weight() const { return weight_; }

 private:
  Parameter weight_;
};

struct Bench {
  Scale module;
  Hooks hooks;
  Pass pass;
  std::vector<std::string> log;

  Bench() {
    module.set_path("m");
    pass.hooks = &hooks;
  }
  Hook<ValueFn> noted(Slot slot, std::string owner, double factor = 1) {
    return {slot, owner, [this, owner, factor](const Variable& x, const Pass&) {
              log.push_back(owner);
              return x * factor;
            }};
  }
  Hook<WrapFn> around(Slot slot, std::string owner) {
    return {slot, owner, [this, owner](const Variable& x, const Inner& inner, const Pass&) {
              log.push_back(owner + " in");
              const Variable y = inner(x);
              log.push_back(owner + " out");
              return y;
            }};
  }
  double run(double x) { return module(Variable(full({1}, x)), pass).value().item(); }
};
using Lines = std::vector<std::string>;

TEST_CASE("hooks: value transforms run in slot order, whatever order they were attached in") {
  Bench b;
  for (const Slot slot :
       {Slot::kQuantize, Slot::kStructure, Slot::kCompute, Slot::kMask, Slot::kReparameterise}) {
    b.hooks.transform_value("m.in", b.noted(slot, std::string(name_of(slot))));
  }
  b.hooks.transform_value("m.out", b.noted(Slot::kStructure, "out"));
  b.run(1);
  CHECK(b.log == Lines{"structure", "mask", "reparameterise", "quantize", "compute", "out"});
}

TEST_CASE("hooks: transforms of in, wraps and out stand around the module's own forward") {
  Bench b;
  b.hooks.transform_value("m.in", b.noted(Slot::kMask, "in", 3));
  b.hooks.transform_value("m.out", b.noted(Slot::kMask, "out", 5));
  b.hooks.wrap("m", b.around(Slot::kCompute, "compute"));
  b.hooks.wrap("m", b.around(Slot::kStructure, "structure"));
  CHECK(b.run(7) == 7 * 3 * 2 * 5);
  CHECK(b.log == Lines{"in", "structure in", "compute in", "compute out", "structure out", "out"});
}

TEST_CASE("hooks: a wrap may leave the module out") {
  Bench b;
  b.hooks.wrap("m", {Slot::kStructure, "skip",
                     [](const Variable& x, const Inner&, const Pass&) { return x; }});
  CHECK(b.run(7) == 7);
}

TEST_CASE("hooks: token wraps see all that travels and nest like the others") {
  Bench b;
  Lines order;
  for (const Slot slot : {Slot::kMask, Slot::kStructure}) {
    b.hooks.wrap_tokens("m",
                        {slot, std::string(name_of(slot)),
                         [&order, slot](const Tokens& t, const InnerTokens& inner, const Pass&) {
                           order.emplace_back(name_of(slot));
                           Tokens u = inner(t);
                           u.num_special += 1;
                           return u;
                         }});
  }
  Tokens t;
  t.x = Variable(ones({1, 1, 1}));
  t.num_special = 1;
  const Tokens u = b.module(t, b.pass);
  CHECK(order == Lines{"structure", "mask"});
  CHECK(u.num_special == 3);
  CHECK(u.x.value().item() == 2);
}

TEST_CASE("hooks: weight transforms run in slot order, once per pass, and carry the gradient") {
  Bench b;
  b.hooks.transform_weight("m.weight", b.noted(Slot::kQuantize, "quantize", 10));
  b.hooks.transform_weight("m.weight", b.noted(Slot::kMask, "mask", 3));
  b.pass.wants_grad = true;
  const Variable x(full({1}, 1));
  const Variable y = b.module(x, b.pass) + b.module(x, b.pass);
  CHECK(b.log == Lines{"mask", "quantize"});
  CHECK(y.value().item() == 2 * 2 * 30);
  backward(y);
  CHECK(b.module.weight().grad().item() == 2 * 30);
}

TEST_CASE("hooks: two in one slot at one place are refused with both names") {
  Bench b;
  b.hooks.transform_value("m.in", b.noted(Slot::kMask, "first"));
  b.hooks.transform_value("m.in", b.noted(Slot::kQuantize, "first"));
  CHECK_THROWS_WITH_AS(
      b.hooks.transform_value("m.in", b.noted(Slot::kMask, "second")),
      "m.in: first and second both want the mask slot; only one of them can act there",
      RecipeError);
  CHECK_NOTHROW(b.hooks.transform_value("m.out", b.noted(Slot::kMask, "second")));
  CHECK_NOTHROW(b.hooks.transform_value("n.in", b.noted(Slot::kMask, "second")));
  b.hooks.transform_weight("m.weight", b.noted(Slot::kReparameterise, "first"));
  CHECK_THROWS_WITH_AS(
      b.hooks.transform_weight("m.weight", b.noted(Slot::kReparameterise, "second")),
      "m.weight: first and second both want the reparameterise slot; only one of them can act "
      "there",
      RecipeError);
  b.hooks.wrap("m", b.around(Slot::kCompute, "first"));
  CHECK_THROWS_WITH_AS(
      b.hooks.wrap("m", b.around(Slot::kCompute, "second")),
      "m: first and second both want the compute slot; only one of them can act there",
      RecipeError);
}

TEST_CASE("hooks: a place is a module's path followed by .in or .out") {
  Bench b;
  for (const char* const place : {"m", "m.mid", "m.in.x", ""}) {
    CHECK_THROWS_WITH_AS(
        b.hooks.tap(place, "test"),
        str("place ", place, ": expected a module's path followed by .in or .out").c_str(), Error);
  }
}

TEST_CASE("hooks: a tap keeps the value that last passed, behind all transforms of its place") {
  Bench b;
  const Tap in = b.hooks.tap("m.in", "teacher"), out = b.hooks.tap("m.out", "teacher");
  b.hooks.transform_value("m.in", b.noted(Slot::kMask, "in", 3));
  CHECK_FALSE(in.has_value());
  CHECK_THROWS_WITH_AS(out.value(), "tap at m.out: nothing passed there in this step", Error);
  b.run(7);
  CHECK(in.value().value().item() == 21);
  CHECK(out.value().value().item() == 42);
  b.run(1);
  CHECK(out.value().value().item() == 6);
  b.hooks.clear_taps();
  CHECK_FALSE(out.has_value());
  CHECK_THROWS_AS(out.value(), Error);
}

TEST_CASE("hooks: a tapped value is part of the tape") {
  Bench b;
  const Tap tap = b.hooks.tap("m.out", "test");
  b.pass.wants_grad = true;
  b.run(3);
  backward(square(tap.value()));
  CHECK(b.module.weight().grad().item() == 2 * 6 * 3);
}

TEST_CASE("hooks: remove_owner takes away all of one owner and nothing else") {
  Bench b;
  b.hooks.transform_value("m.in", b.noted(Slot::kMask, "mine", 3));
  b.hooks.transform_value("m.in", b.noted(Slot::kQuantize, "other", 5));
  b.hooks.transform_value("m.out", b.noted(Slot::kMask, "mine", 7));
  b.hooks.transform_weight("m.weight", b.noted(Slot::kMask, "mine", 11));
  b.hooks.wrap("m", b.around(Slot::kStructure, "mine"));
  const Tap tap = b.hooks.tap("m.out", "mine");
  CHECK(b.hooks.describe() == Lines{"mask: mine at m.weight", "mask: mine at m.in",
                                    "quantize: other at m.in", "structure: mine at m",
                                    "mask: mine at m.out", "tap: mine at m.out"});
  b.hooks.remove_owner("mine");
  CHECK(b.hooks.describe() == Lines{"quantize: other at m.in"});
  CHECK(b.run(1) == 5 * 2);
  CHECK(b.log == Lines{"other"});
  CHECK_FALSE(tap.has_value());
  b.hooks.remove_owner("other");
  CHECK(b.hooks.empty());
}

}  // namespace
}  // namespace vtrain
