#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "compress/parts/quant_targets.h"
#include "recipes/recipe.h"

namespace vtrain {

/// Bits that mean: not rounded.
constexpr int64_t kRealBits = 32;
/// Names that knobs of bits have in several methods.
constexpr const char* kWeightBits = "weight_bits";
constexpr const char* kActivationBits = "activation_bits";

/// A knob that says how many bits codes have, and what single layers may have in its place.
struct BitsKnob {
  std::string key;  // "weight_bits"
  int64_t own = 8;  // the method's, of layers that no entry names; kRealBits: none is rounded
  int64_t fewest = 2, most = 8;
  std::string help = {};
};

/// Bits of single layers, the knob `overrides`:
///
///     overrides: {"layer3.*": {weight_bits: 2}, last: {weight_bits: 8, activation_bits: 8}}
///
/// Keys are globs of layers' paths, or "first" and "last" as in QuantChoice; of the entries that
/// name a layer the last one that has a key counts for it. A layer is rounded or is not: what stays
/// real is what `skip` is for, so no entry can ask for kRealBits, or for fewer where the method has
/// these.
class BitOverrides {
 public:
  BitOverrides() = default;
  /// Reads `overrides`; an entry has the keys of `knobs`. Throws RecipeError for bits out of range,
  /// for an entry without a key, and for bits of what the method does not round.
  BitOverrides(Recipe& r, const std::vector<BitsKnob>& knobs);

  bool is_empty() const { return entries_.empty(); }
  /// The largest bits of all entries with that key; `own` if there are none.
  int64_t most(const std::string& key, int64_t own) const;

  /// In attach: decides which entry counts for which layer. Throws RecipeError for an entry that
  /// names no layer that is rounded, and for a key that later entries replace at every layer.
  void match(const QuantTargets& targets);

  /// Of that layer: an entry's bits, else `own`.
  int64_t of(const std::string& key, const std::string& layer, int64_t own) const;

  /// Of every one of QuantTargets::layers, where they have the same `own`.
  std::vector<int64_t> of_layers(const std::string& key, const QuantTargets& targets,
                                 int64_t own) const;

  /// Of every one of QuantTargets::values: the bits that all layers want which read it, or a value
  /// that shares its scale; `own` of a value is what a layer wants that no entry names. Throws
  /// RecipeError where two want different ones.
  std::vector<int64_t> of_values(const std::string& key, const QuantTargets& targets,
                                 const std::function<int64_t(size_t value)>& own) const;

 private:
  struct Entry {
    std::string glob, place;                    // of the recipe, for errors
    std::map<std::string, int64_t> bits;        // by key
    std::map<std::string, std::string> places;  // of these keys
  };
  struct Choice {
    int64_t bits = 0;
    size_t entry = 0;
  };
  const Choice* choice(const std::string& key, const std::string& layer) const;

  std::vector<Entry> entries_;                                   // in the recipe's order
  std::map<std::string, std::map<std::string, Choice>> chosen_;  // by layer and key
};

/// "4 bits", "2 to 8 bits".
std::string bits_text(std::span<const int64_t> bits);

}  // namespace vtrain
