#include "nn/token_history.h"

#include <string>

#include "nn/pass.h"

namespace vtrain {
namespace {

const char* const kOwner = "token history";

/// Hooks that are gone at the end, whatever happens.
class OwnHooks {
 public:
  explicit OwnHooks(Hooks& hooks) : hooks_(hooks) {}
  ~OwnHooks() { hooks_.remove_owner(kOwner); }
  OwnHooks(const OwnHooks&) = delete;
  OwnHooks& operator=(const OwnHooks&) = delete;

  /// Innermost, so that other methods may have wraps there too.
  void wrap(const std::string& module, WrapTokensFn apply) {
    hooks_.wrap_tokens(module, {Slot::kCompute, kOwner, std::move(apply)});
  }

 private:
  Hooks& hooks_;
};

/// Tokens with the map that history begins with, if they have none yet.
Tokens mapped(const Tokens& t, int64_t patches, const std::string& place) {
  if (t.dest.defined()) return t;
  if (t.length() != t.num_special + patches)
    throw Error(str(place, ": expected the tokens of all ", patches, " patches, got ",
                    t.length() - t.num_special));
  Tokens u = t;
  u.dest = own_rows(t);
  return u;
}

/// What is behind a block, once every token is known to hold a patch.
TokensBehind behind(const Tokens& t, int64_t block) {
  const int64_t tokens = (t.whole ? t.whole->length() : t.length()) - t.num_special;
  const int64_t samples = t.dest.dim(0), patches = t.dest.dim(1);
  std::vector<double> rows = t.dest.to_vector();
  for (int64_t n = 0; n < samples; ++n) {
    std::vector<bool> is_named(static_cast<size_t>(tokens));
    int64_t named = 0;
    bool is_inside = true;
    for (int64_t p = 0; p < patches; ++p) {
      double& row = rows[static_cast<size_t>(n * patches + p)];
      if (row < 0) continue;
      row -= static_cast<double>(t.num_special);
      is_inside = row >= 0 && row < static_cast<double>(tokens);
      if (!is_inside) break;
      const auto token = static_cast<size_t>(row);
      named += is_named[token] ? 0 : 1;
      is_named[token] = true;
    }
    if (!is_inside || named != tokens)
      throw Error(str("blocks.", block, ": has ", tokens,
                      " patch tokens, and the patches are in others: what changed them did not "
                      "say where they went (Tokens::dest)"));
  }
  return {
      .block = block, .tokens = tokens, .dest = from_values({samples, patches}, rows, DType::i32)};
}

}  // namespace

TokenHistory token_history(Network& network, const Tensor& images, int64_t first_sample) {
  if (!network.has_module("blocks.0") || !network.has_module("patch_embed.proj"))
    throw RecipeError(str(network.architecture().model,
                          ": expected a vision transformer: this network has no blocks of tokens"));
  TokenHistory history;
  history.patch_size = network.parameter("patch_embed.proj.weight").value().dim(2);
  history.side = network.architecture().options.image_size / history.patch_size;
  const int64_t patches = history.side * history.side;

  OwnHooks hooks(network.hooks());
  const auto record = [&history](const Tokens& t, int64_t block) {
    if (history.behind.empty() || history.behind.back().block != block)
      history.behind.emplace_back();
    history.behind.back() = behind(t, block);
  };
  const auto wrap = [&](const std::string& place, int64_t block) {
    hooks.wrap(place, [=](const Tokens& t, const InnerTokens& inner, const Pass&) {
      Tokens u = inner(mapped(t, patches, place));
      record(u, block);
      return u;
    });
  };
  for (int64_t i = 0; network.has_module(str("blocks.", i)); ++i) {
    const std::string block = str("blocks.", i);
    wrap(block, i);
    if (network.has_module(block + ".out")) wrap(block + ".out", i);
    // The first part of all is in front of the first block.
    if (!network.has_module(block + ".in")) continue;
    hooks.wrap(block + ".in", [=](const Tokens& t, const InnerTokens& inner, const Pass&) {
      return inner(mapped(t, patches, block));
    });
  }
  Pass pass;
  pass.first_sample = first_sample;
  network.forward(images, pass);
  return history;
}

}  // namespace vtrain
