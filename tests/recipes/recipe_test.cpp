#include "recipes/recipe.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tensor/error.h"

namespace vtrain {
namespace {

Recipe parse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return Recipe::from_text(yaml, "x.yaml", overrides);
}

/// The message of the RecipeError that `action` throws, or a text that no test expects.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const RecipeError& e) {
    return e.what();
  }
  return "(no error)";
}

/// Recipe files in a folder of their own, named by short relative paths; gone at the end.
class Folder {
 public:
  Folder() : before_(std::filesystem::current_path()) {
    const auto name = "vtrain_recipe_test_" + std::to_string(reinterpret_cast<uintptr_t>(this));
    path_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::create_directories(path_);
    std::filesystem::current_path(path_);
  }
  ~Folder() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& file, const std::string& text) const {
    const auto parent = std::filesystem::path(file).parent_path();
    if (!parent.empty()) std::filesystem::create_directories(parent);
    std::ofstream(file) << text;
  }

 private:
  std::filesystem::path before_, path_;
};

const char* const kRecipe = R"(# a comment
seed: 42
model: {name: deit, drop_path: 0.1}
optim:
  name: adamw
  lr: 1.0e-3
  betas: [0.9, 0.999]
phases:
  dense: {train: {epochs: 8}}
  sparse:
    from: dense
    optim: {lr: 2.0e-4}
    compress:
      dynamicvit:
        at: [2, 4, 6]
        keep_ratio: 1.3
        keep_ration: 0.7
)";

void read_groups(Recipe r) {
  r.integer("seed", 0);
  r.section("model").required_text("name");
  r.section("model").real("drop_path", 0);
  Recipe optim = r.section("optim");
  optim.text("name", "sgd");
  optim.real("lr", 0.1);
  optim.reals("betas", {0.9, 0.99});
  r.section("train").integer("epochs", 1);
  r.text("from", "");
}

}  // namespace

TEST_CASE("recipe: every reader returns what is written, and its default where nothing is") {
  Recipe r = parse(R"(
real: 5e-4
whole: 1
integer: -3
flag: True
text: 0.50
quoted: "true"
integers: [2, 4]
reals: [0.5, 1]
texts: [blocks.*.fc1, "~head"]
nothing: null
tilde: ~
)");
  CHECK(r.real("real", 1) == 5e-4);
  CHECK(r.real("whole", 2) == 1.0);
  CHECK(r.integer("integer", 2) == -3);
  CHECK(r.flag("flag", false));
  CHECK(r.text("text", "") == "0.50");
  CHECK(r.text("quoted", "") == "true");
  CHECK(r.integers("integers", {}) == std::vector<int64_t>{2, 4});
  CHECK(r.reals("reals", {}) == std::vector<double>{0.5, 1});
  CHECK(r.texts("texts", {}) == std::vector<std::string>{"blocks.*.fc1", "~head"});
  CHECK(r.maybe_real("nothing") == std::nullopt);
  CHECK(r.maybe_text("tilde") == std::nullopt);
  CHECK(r.maybe_real("real") == 5e-4);
  CHECK(r.maybe_integer("integer") == -3);
  CHECK(r.maybe_text("text") == "0.50");
  CHECK_NOTHROW(r.finish());

  CHECK(r.real("absent", 0.25) == 0.25);
  CHECK(r.integers("absent list", {7}) == std::vector<int64_t>{7});
  CHECK(r.maybe_integer("absent maybe") == std::nullopt);
  CHECK(r.has("real"));
  CHECK_FALSE(r.has("nothing"));
  CHECK_FALSE(r.has("absent"));
}

TEST_CASE("recipe: a value alone stands for a list of one") {
  Recipe r = parse("at: 3\nratio: 0.5\nwhere: head");
  CHECK(r.integers("at", {}) == std::vector<int64_t>{3});
  CHECK(r.reals("ratio", {}) == std::vector<double>{0.5});
  CHECK(r.texts("where", {}) == std::vector<std::string>{"head"});
}

TEST_CASE("recipe: all 64 bits of an integer survive") {
  Recipe r = parse("seed: 9223372036854775807\ntoo_big: 9223372036854775808");
  CHECK(r.integer("seed", 0) == 9223372036854775807);
  CHECK(error_of([&] { r.integer("too_big", 0); }) ==
        "x.yaml:2: too_big: expected an integer, got 9223372036854775808");
}

TEST_CASE("recipe: a value out of range is named with line, address, range and value") {
  Recipe r = parse(kRecipe);
  Recipe method = r.section("phases").section("sparse").section("compress").section("dynamicvit");
  CHECK(error_of([&] { method.real("keep_ratio", 1, in_open_low(0, 1)); }) ==
        "x.yaml:16: phases.sparse.compress.dynamicvit.keep_ratio: expected a number in (0, 1], got "
        "1.3");
  CHECK(
      error_of([&] { method.integers("at", {}, in(3, 11)); }) ==
      "x.yaml:15: phases.sparse.compress.dynamicvit.at[0]: expected an integer in [3, 11], got 2");
  CHECK(error_of([&] { r.integer("seed", 0, above(42)); }) ==
        "x.yaml:2: seed: expected an integer above 42, got 42");
  CHECK_NOTHROW(r.integer("seed", 0, at_least(42)));
}

TEST_CASE("recipe: a value of the wrong type is refused, never converted") {
  Recipe r = parse(R"(
quoted: "0.5"
half: 1.5
exponent: 1e3
unit: 3px
infinite: inf
yes: yes
nil: null
list: [1, two]
map: {a: 1}
)");
  const auto number = [&](const char* key) { return error_of([&] { r.real(key, 0); }); };
  const auto integer = [&](const char* key) { return error_of([&] { r.integer(key, 0); }); };
  CHECK(number("quoted") == "x.yaml:2: quoted: expected a number, got \"0.5\"");
  CHECK(number("unit") == "x.yaml:5: unit: expected a number, got 3px");
  CHECK(number("infinite") == "x.yaml:6: infinite: expected a number, got inf");
  CHECK(number("nil") == "x.yaml:8: nil: expected a number, got null");
  CHECK(number("list") == "x.yaml:9: list: expected a number, got [1, two]");
  CHECK(number("map") == "x.yaml:10: map: expected a number, got a mapping");
  CHECK(integer("half") == "x.yaml:3: half: expected an integer, got 1.5");
  CHECK(integer("exponent") == "x.yaml:4: exponent: expected an integer, got 1e3");
  CHECK(error_of([&] { r.flag("yes", true); }) == "x.yaml:7: yes: expected true or false, got yes");
  CHECK(error_of([&] { r.text("nil", ""); }) == "x.yaml:8: nil: expected text, got null");
  CHECK(error_of([&] { r.integers("list", {}); }) ==
        "x.yaml:9: list[1]: expected an integer, got two");
  CHECK(error_of([&] { r.reals("map", {}); }) ==
        "x.yaml:10: map: expected a list of numbers, got a mapping");
  CHECK(error_of([&] { r.section("half"); }) == "x.yaml:3: half: expected a mapping, got 1.5");
}

TEST_CASE("recipe: a choice lists the choices and names the nearest") {
  Recipe r = parse("name: cosin");
  CHECK(error_of([&] {
          r.choice("name", "step", {"step", "cosine"});
        }) == "x.yaml:1: name: expected one of step, cosine, got cosin; did you mean cosine?");
  CHECK(error_of([&] {
          r.choice("name", "step", {"step", "linear"});
        }) == "x.yaml:1: name: expected one of step, linear, got cosin");
  CHECK(r.choice("name", "step", {"cosin"}) == "cosin");
  CHECK(r.choice("absent", "step", {"step", "linear"}) == "step");
}

TEST_CASE("recipe: a required text that is missing is reported at its section") {
  Recipe r = parse("seed: 1\ndistill: {alpha: 1}");
  CHECK(error_of([&] { r.section("distill").required_text("teacher"); }) ==
        "x.yaml:2: distill.teacher: missing; expected text");
  CHECK(error_of([&] { r.required_text("name"); }) == "x.yaml: name: missing; expected text");
  CHECK(error_of([&] { r.section("absent").section("deep").required_text("name"); }) ==
        "x.yaml: absent.deep.name: missing; expected text");
}

TEST_CASE("recipe: fail and where point at the value, or at the section if it is absent") {
  Recipe r = parse("model:\n  name: a\n  list:\n    - 1\n    - 2\n");
  const Recipe model = r.section("model");
  CHECK(error_of([&] { model.fail("name", "no such model"); }) ==
        "x.yaml:2: model.name: no such model");
  CHECK(error_of([&] { model.fail("depth", "needed"); }) == "x.yaml:1: model.depth: needed");
  CHECK(model.where("list") == "x.yaml:3");
  CHECK(model.address() == "model");
  CHECK(r.address().empty());
}

TEST_CASE("recipe: text that is not YAML is reported with line and column") {
  CHECK(error_of([] { parse("a: 1\nb: [1, 2\n"); }) ==
        "x.yaml:3:1: end of sequence flow not found");
  CHECK(error_of([] { parse("a: 1\nb: 2\na: 3"); }) ==
        "x.yaml:3: a: written twice, first at x.yaml:1");
  CHECK(error_of([] { parse("p: {q: {a: 1,\n a: 1}}"); }) ==
        "x.yaml:2: p.q.a: written twice, first at x.yaml:1");
  CHECK(error_of([] { parse("a: !!float 1"); }) ==
        "x.yaml:1:4: the tag tag:yaml.org,2002:float is not understood; a recipe has none");
  CHECK(error_of([] { parse("[a, b]: 1"); }) == "x.yaml:1:1: a key must be a word");
  CHECK(error_of([] { parse("~: 1"); }) == "x.yaml:1:1: a key must be a word, got null");
  CHECK(error_of([] { parse("a: &x {b: *x}"); }) ==
        "x.yaml:1:11: an alias inside the value it stands for");
  CHECK(error_of([] { parse("a: 1\n---\nb: 1"); }) ==
        "x.yaml:2:1: a second document; a recipe is one");
  CHECK(error_of([] { parse("- 1"); }) == "x.yaml: expected a mapping of keys to values, got [1]");
  CHECK(error_of([] { parse("# nothing"); }) ==
        "x.yaml: expected a mapping of keys to values, got nothing");
}

TEST_CASE("recipe: an anchor is copied, so that both places have an address of their own") {
  Recipe r = parse("a: &x {lr: wrong}\nb: *x");
  CHECK(error_of([&] { r.section("b").real("lr", 0); }) ==
        "x.yaml:1: b.lr: expected a number, got wrong");
  CHECK(error_of([&] { r.section("a").real("lr", 0); }) ==
        "x.yaml:1: a.lr: expected a number, got wrong");
}

TEST_CASE("recipe: a key that nobody reads is refused, and the nearest known one is named") {
  Recipe r = parse(kRecipe, {"phases.sparse.compress.dynamicvit.keep_ratio=0.7"});
  read_groups(r);
  Recipe phases = r.section("phases");
  for (const std::string& name : phases.keys()) {
    Recipe phase = phases.section(name);
    read_groups(r.merged_with(phase));
    Recipe method = phase.section("compress").section("dynamicvit");
    method.integers("at", {});
    method.real("keep_ratio", 1, in_open_low(0, 1));
  }
  CHECK(error_of([&] { r.finish(); }) ==
        "x.yaml:17: phases.sparse.compress.dynamicvit.keep_ration: unknown key; "
        "did you mean keep_ratio?");
  CHECK_NOTHROW(r.section("optim").finish());  // a section answers for itself only
}

TEST_CASE("recipe: without a near key, the known ones are listed") {
  Recipe r = parse("aug:\n  hflip: true\n  colour: 1");
  CHECK(error_of([&] { r.finish(); }) == "x.yaml:1: aug: unknown key; no key is known here");
  r.section("aug").flag("hflip", false);
  r.section("aug").real("mixup", 0);
  CHECK(error_of([&] { r.finish(); }) ==
        "x.yaml:3: aug.colour: unknown key; known here: hflip, mixup");
}

TEST_CASE("recipe: what other frameworks call a key is answered with our address") {
  const auto refusal = [](const std::string& yaml) {
    Recipe r = parse(yaml);
    Recipe phase = r.section("phases").section("sparse");
    r.merged_with(phase).section("optim").text("name", "");
    phase.section("compress").section("dkd").real("alpha", 1);
    return error_of([&] { r.finish(); });
  };
  CHECK(refusal("lr0: 1") == "x.yaml:1: lr0: unknown key; did you mean optim.lr?");
  CHECK(refusal("lr: 1") == "x.yaml:1: lr: unknown key; did you mean optim.lr?");
  CHECK(refusal("batch: 1") == "x.yaml:1: batch: unknown key; did you mean data.batch_size?");
  CHECK(refusal("opt: sgd") == "x.yaml:1: opt: unknown key; did you mean optim.name?");
  CHECK(refusal("epochs: 3") == "x.yaml:1: epochs: unknown key; did you mean train.epochs?");
  CHECK(refusal("weight-decay: 3") ==
        "x.yaml:1: weight-decay: unknown key; did you mean optim.weight_decay?");
  CHECK(refusal("optim: {wd: 3}") ==
        "x.yaml:1: optim.wd: unknown key; did you mean optim.weight_decay?");
  CHECK(refusal("optim: {lr: 3}") == "x.yaml:1: optim.lr: unknown key; known here: name");
  CHECK(refusal("phases: {sparse: {lr0: 1}}") ==
        "x.yaml:1: phases.sparse.lr0: unknown key; did you mean phases.sparse.optim.lr?");
  CHECK(refusal("phases: {sparse: {compress: {dkd: {epochs: 1}}}}") ==
        "x.yaml:1: phases.sparse.compress.dkd.epochs: unknown key; known here: alpha");
  CHECK(refusal("optim.lr: 1") ==
        "x.yaml:1: optim.lr: unknown key; dots are for the command line; here optim is a mapping");
  CHECK(refusal("img_size: 224") ==
        "x.yaml:1: img_size: unknown key; did you mean data.image_size?");
}

TEST_CASE("recipe: an override sets, adds or deletes, and is YAML") {
  Recipe r = parse(kRecipe, {"optim.lr=0.5", "optim.betas=[0.8, 0.99]", "+data.sizes={a: 1}",
                             "~phases.sparse", "seed=", "model.name=a=b", "seed=7"});
  CHECK(r.section("optim").real("lr", 0) == 0.5);
  CHECK(r.section("optim").reals("betas", {}) == std::vector<double>{0.8, 0.99});
  CHECK(r.section("data").section("sizes").integer("a", 0) == 1);
  CHECK(r.section("phases").keys() == std::vector<std::string>{"dense"});
  CHECK(r.section("model").text("name", "") == "a=b");
  CHECK(r.integer("seed", 0) == 7);  // the last one counts
  CHECK(r.where("seed") == "command line");
}

TEST_CASE("recipe: an override replaces a mapping as a whole") {
  Recipe r = parse(kRecipe, {"optim={name: sgd}"});
  CHECK(r.section("optim").keys() == std::vector<std::string>{"name"});
}

TEST_CASE("recipe: a wrong value from the command line is reported as from there") {
  Recipe r = parse(kRecipe, {"optim.lr=-1", "optim.lrr=1"});
  CHECK(error_of([&] { r.section("optim").real("lr", 0, at_least(0)); }) ==
        "command line: optim.lr: expected a number at least 0, got -1");
  read_groups(r);
  r.section("phases").section("dense").section("train").integer("epochs", 1);
  CHECK(error_of([&] { r.finish(); }) == "command line: optim.lrr: unknown key; did you mean lr?");
}

TEST_CASE("recipe: an override that cannot be carried out says why") {
  const auto refusal = [](const std::string& override) {
    return error_of([&] { parse(kRecipe, {override}); });
  };
  CHECK(refusal("optim.lr") == "command line: optim.lr: expected a.b=value, +a.b=value or ~a.b");
  CHECK(refusal("=1") == "command line: =1: expected a.b=value, +a.b=value or ~a.b");
  CHECK(refusal("optim..lr=1") ==
        "command line: optim..lr: expected keys with single dots between them");
  CHECK(refusal("seed.a.b=1") == "command line: seed: expected a mapping, got 42 at x.yaml:2");
  CHECK(refusal("~seed.a") == "command line: seed: expected a mapping, got 42 at x.yaml:2");
  CHECK(refusal("+optim.lr=1") ==
        "command line: optim.lr: is there already, at x.yaml:6; to change it: optim.lr=1");
  CHECK(refusal("~optim.lrr") ==
        "command line: optim.lrr: no such key to delete; did you mean lr?");
  CHECK(refusal("~optim.weight_decay") ==
        "command line: optim.weight_decay: no such key to delete; there is: name, lr, betas");
  CHECK(refusal("~optim.lr=1") ==
        "command line: ~optim.lr=1: a key is deleted without a value: ~a.b");
  CHECK(refusal("optim.x={a: 1, a: 2}") == "command line: optim.x.a: written twice");
  CHECK(refusal("optim.x={[a]: 1}") == "command line: optim.x: a key must be a word");
  CHECK(refusal("optim.betas=[1, 2") ==
        "command line: optim.betas: [1, 2 is not YAML: end of sequence flow not found");
}

TEST_CASE("recipe: an override does not make a phase by a slip of the keyboard") {
  CHECK(error_of([] { parse(kRecipe, {"phases.sprase.seed=1"}); }) ==
        "command line: phases.sprase: no such phase; did you mean sparse? "
        "A new one is added with +phases.sprase.seed=1");
  CHECK(error_of([] { parse(kRecipe, {"phases.finetune.seed=1"}); }) ==
        "command line: phases.finetune: no such phase; there is: dense, sparse. "
        "A new one is added with +phases.finetune.seed=1");
  CHECK(parse(kRecipe, {"+phases.finetune.seed=1"}).section("phases").keys().size() == 3);
  CHECK(parse("seed: 1", {"phases.a.seed=1"}).section("phases").keys().size() == 1);
}

TEST_CASE("recipe: base merges under the file key by key, and every value keeps its place") {
  const Folder folder;
  folder.write("common/base.yaml", "seed: 1\noptim: {name: sgd, lr: 0.1}\nlist: [1, 2, 3]\n");
  folder.write("common/middle.yaml", "base: base.yaml\noptim:\n  lr: 0.2\n");
  folder.write("top.yaml", "base: common/middle.yaml\nlist: [4]\noptim: {momentum: high}\n");
  Recipe r = Recipe::from_file("top.yaml", {"optim.nesterov=true"});
  CHECK(r.keys() == std::vector<std::string>{"seed", "optim", "list"});
  CHECK(r.integer("seed", 0) == 1);
  CHECK(r.integers("list", {}) == std::vector<int64_t>{4});
  Recipe optim = r.section("optim");
  CHECK(optim.real("lr", 0) == 0.2);
  CHECK(optim.text("name", "") == "sgd");
  CHECK(optim.where("lr") == "common/middle.yaml:3");
  CHECK(error_of([&] { optim.real("momentum", 0); }) ==
        "top.yaml:3: optim.momentum: expected a number, got high");
  CHECK(r.yaml(/*with_origins=*/true) == R"(seed: 1           # common/base.yaml:1
optim:
  name: sgd       # common/base.yaml:2
  lr: 0.2         # common/middle.yaml:3
  momentum: high  # top.yaml:3
  nesterov: true  # command line
list: [4]         # top.yaml:2
)");
}

TEST_CASE("recipe: a base that is missing, no path or a cycle is an error at its line") {
  const Folder folder;
  folder.write("a.yaml", "seed: 1\nbase: sub/b.yaml\n");
  folder.write("sub/b.yaml", "base: c.yaml\n");
  folder.write("sub/c.yaml", "base: ../a.yaml\n");
  folder.write("missing.yaml", "base: nowhere.yaml\n");
  folder.write("list.yaml", "base: [a.yaml]\n");
  const auto refusal = [](const char* file) { return error_of([&] { Recipe::from_file(file); }); };
  CHECK(refusal("a.yaml") ==
        "sub/c.yaml:1: base: the files name each other: "
        "a.yaml -> sub/b.yaml -> sub/c.yaml -> a.yaml");
  CHECK(refusal("missing.yaml") == "missing.yaml:1: base: nowhere.yaml: no such file");
  CHECK(refusal("list.yaml") == "list.yaml:1: base: expected the path of a recipe, got [a.yaml]");
  CHECK(refusal("nowhere.yaml") == "nowhere.yaml: no such file");
  CHECK(refusal("sub") == "sub: is a folder, not a recipe");
}

TEST_CASE("recipe: a phase merged over the root keeps each value's place and address") {
  Recipe r = parse(R"(
optim:
  name: adamw
  lr: fast
data: {batch_size: many}
phases:
  sparse:
    optim:
      lr: slow
    list: []
)");
  Recipe phase = r.section("phases").section("sparse");
  Recipe merged = r.merged_with(phase);
  CHECK(merged.keys() == std::vector<std::string>{"optim", "data", "list"});  // no phases
  CHECK(merged.section("optim").text("name", "") == "adamw");
  CHECK(error_of([&] { merged.section("optim").real("lr", 0); }) ==
        "x.yaml:9: phases.sparse.optim.lr: expected a number, got slow");
  CHECK(error_of([&] { merged.section("data").integer("batch_size", 1); }) ==
        "x.yaml:5: data.batch_size: expected an integer, got many");
  CHECK(error_of([&] { merged.section("ema").required_text("name"); }) ==
        "x.yaml:7: phases.sparse.ema.name: missing; expected text");
  CHECK(error_of([&] { r.section("optim").real("lr", 0); }) ==
        "x.yaml:4: optim.lr: expected a number, got fast");  // the sources are as before
}

TEST_CASE("recipe: what is read through a merged recipe counts as read in both sources") {
  const char* yaml = R"(
optim: {lr: 0.1}
phases:
  sparse:
    optim: {lr: 0.2, nesterov: true}
    compress: {dkd: {alpha: 1, alhpa: 2}}
)";
  Recipe r = parse(yaml);
  Recipe merged = r.merged_with(r.section("phases").section("sparse"));
  merged.section("optim").real("lr", 0);
  CHECK(error_of([&] { r.finish(); }) ==
        "x.yaml:5: phases.sparse.optim.nesterov: unknown key; known here: lr");
  merged.section("optim").flag("nesterov", false);
  merged.section("compress").section("dkd").real("alpha", 0);
  const std::string refusal =
      "x.yaml:6: phases.sparse.compress.dkd.alhpa: unknown key; did you mean alpha?";
  CHECK(error_of([&] { r.finish(); }) == refusal);
  CHECK(error_of([&] { merged.finish(); }) == refusal);
  merged.section("compress").section("dkd").real("alhpa", 0);
  CHECK_NOTHROW(r.finish());
  CHECK_NOTHROW(merged.finish());
}

TEST_CASE("recipe: null in a later mapping replaces what was there") {
  Recipe r = parse("ema: {decay: 0.9}\nphases: {a: {ema: null}}");
  Recipe merged = r.merged_with(r.section("phases").section("a"));
  CHECK(merged.section("ema").maybe_real("decay") == std::nullopt);
}

TEST_CASE("recipe: declared keys are listed once, with type, default, range and help") {
  Recipe r = parse("optim: {lr: 0.1}\nphases: {a: {}}");
  for (int i = 0; i < 2; ++i) {
    r.merged_with(r.section("phases").section("a"))
        .section("optim", "the optimizer")
        .real("lr", 1e-3, above(0), "learning rate");
  }
  r.integers("at", {2, 4}, in(0, 11));
  const std::vector<KeyInfo> infos = r.declared();
  std::vector<std::string> addresses;
  for (const KeyInfo& info : infos) addresses.push_back(info.address);
  CHECK(addresses == std::vector<std::string>{"phases", "phases.a", "phases.a.optim",
                                              "phases.a.optim.lr", "optim", "optim.lr", "at"});
  CHECK(infos[5].type == "number");
  CHECK(infos[5].default_text == "0.001");
  CHECK(infos[5].range == "above 0");
  CHECK(infos[5].help == "learning rate");
  CHECK(infos[6].type == "list of integers");
  CHECK(infos[6].default_text == "[2, 4]");
  CHECK(infos[6].range == "in [0, 11]");
  CHECK(r.section("optim").declared().size() == 1);
}

TEST_CASE("recipe: yaml parses back to the same tree") {
  Recipe r = parse(R"(
"a: b": 1
plain: two words
number: 5e-4
text: "0.5"
null_text: "null"
nothing:
empty: ""
block: |
  two
  lines	and a "tab" \
comma:
  - a, b
  - {k: [1, "~"]}
  - ~
where: ~head
colon: role:conv3x3
dash: "-"
utf8: größer
none: {}
no_items: []
nested: {deep: {er: true}}
)");
  const std::string yaml = r.yaml();
  CHECK(yaml == R"("a: b": 1
plain: "two words"
number: 5e-4
text: "0.5"
null_text: "null"
nothing: null
empty: ""
block: "two\nlines\x09and a \"tab\" \\\n"
comma: ["a, b", {k: [1, "~"]}, null]
where: "~head"
colon: "role:conv3x3"
dash: "-"
utf8: "größer"
none: {}
no_items: []
nested:
  deep:
    er: true
)");
  CHECK(parse(yaml).yaml() == yaml);
  CHECK(parse(yaml).hash() == r.hash());
  CHECK(parse(r.yaml(/*with_origins=*/true)).yaml() == yaml);
  CHECK(parse(parse("{}").yaml()).keys().empty());
}

TEST_CASE("recipe: the hash sees content, not order, notation, comments or places") {
  const std::string hash = parse("a: 1\nb: {c: 0.001, d: [true, x]}").hash();
  CHECK(hash.size() == 16);
  CHECK(hash.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(parse("# c\nb:\n  d: [True, 'x']\n  c: 1e-3\na: 1.0").hash() == hash);
  CHECK(parse("b: {d: [true, x]}", {"a=1", "b.c=0.001"}).hash() == hash);
  CHECK(parse("a: 1\nb: {c: 0.001, d: [x, true]}").hash() != hash);
  CHECK(parse("a: \"1\"\nb: {c: 0.001, d: [true, x]}").hash() != hash);
  CHECK(parse("a: 2\nb: {c: 0.001, d: [true, x]}").hash() != hash);
  CHECK(parse("s: 9007199254740993").hash() != parse("s: 9007199254740992").hash());
  CHECK(parse("a: null").hash() != parse("a: \"null\"").hash());
}

TEST_CASE("recipe: ignored keys do not change the hash, nor does their being absent") {
  const Recipe r = parse("a: 1\nout: {dir: here}\nlog: {every: 5, x: 1}");
  const std::vector<std::string> ignored = {"out.dir", "log.every"};
  CHECK(r.hash(ignored) == parse("a: 1\nlog: {x: 1}").hash());
  CHECK(r.hash(ignored) == parse("a: 1\nlog: {x: 1, every: 9}").hash(ignored));
  CHECK(r.hash(ignored) != r.hash());
}

TEST_CASE("range: text is how an error describes it, and holds agrees") {
  CHECK(in_open_low(0, 1).text() == "in (0, 1]");
  CHECK(in(0.5, 1e-7).text() == "in [0.5, 1e-07]");
  CHECK(at_least(0).text() == "at least 0");
  CHECK(above(-2).text() == "above -2");
  CHECK(Range{.high = 3}.text() == "at most 3");
  CHECK(Range{.high = 3, .high_open = true}.text() == "below 3");
  CHECK(Range{}.text().empty());
  CHECK_FALSE(in_open_low(0, 1).holds(0));
  CHECK(in_open_low(0, 1).holds(1));
  CHECK(in(0, 1).holds(0));
  CHECK_FALSE(above(0).holds(0));
  CHECK_FALSE(Range{.high = 3, .high_open = true}.holds(3));
}

TEST_CASE("nearest: slips are found, other words are not") {
  const std::vector<std::string> known = {"keep_ratio", "lr", "momentum", "teacher"};
  CHECK(nearest("keep_ration", known) == "keep_ratio");
  CHECK(nearest("rl", known) == "lr");  // two letters swapped are one slip
  CHECK(nearest("momentmu", known) == "momentum");
  CHECK(nearest("tecaher", known) == "teacher");
  CHECK(nearest("wd", known).empty());
  CHECK(nearest("temperature", known).empty());
  CHECK(nearest("x", {}).empty());
}

}  // namespace vtrain
