#include "compress/parts/bit_overrides.h"

#include <algorithm>
#include <set>

#include "compress/parts/path_glob.h"

namespace vtrain {
namespace {

constexpr const char* kAny = "*";
constexpr const char* kEntryHelp = "a glob of layers' paths, first, or last";

bool names(const std::string& glob, const QuantLayer& layer) {
  if (glob == "first") return layer.is_first;
  if (glob == "last") return layer.is_last;
  return matches_glob(glob, layer.path);
}

void check_bits(const Recipe& entry, const BitsKnob& knob, int64_t bits) {
  if (bits == knob.own) return;
  if (knob.own == kRealBits)
    entry.fail(knob.key, str("has no effect beside ", knob.key, ' ', kRealBits,
                             " of the method, which rounds none of them"));
  if (bits == kRealBits)
    entry.fail(knob.key, str("expected ", knob.fewest, " to ", knob.most, ", got ", bits,
                             ": a layer that stays real belongs in skip"));
  if (bits > knob.most)
    entry.fail(knob.key, str("expected ", knob.fewest, " to ", knob.most, ", got ", bits));
}

std::string place_of(const Recipe& section, const std::string& key) {
  return str(section.where(key), ": ", section.address(), '.', key);
}

}  // namespace

BitOverrides::BitOverrides(Recipe& r, const std::vector<BitsKnob>& knobs) {
  Recipe overrides =
      r.section("overrides", "bits of single layers in place of the method's: {\"layer3.*\": {" +
                                 knobs.front().key + ": 3}}; the last entry for a layer counts");
  for (const std::string& glob : overrides.keys()) {
    Recipe section = overrides.section(glob, kEntryHelp);
    if (!overrides.has(glob)) continue;  // taken back, where recipes are merged
    Entry entry{.glob = glob, .place = place_of(overrides, glob), .bits = {}, .places = {}};
    std::string keys;
    for (const BitsKnob& knob : knobs) {
      keys += str(keys.empty() ? "" : " or ", knob.key);
      const auto bits = section.maybe_integer(
          knob.key, in(static_cast<double>(knob.fewest), kRealBits), knob.help);
      if (!bits) continue;
      check_bits(section, knob, *bits);
      entry.bits[knob.key] = *bits;
      entry.places[knob.key] = place_of(section, knob.key);
    }
    const auto is_knob = [&](const std::string& key) {
      return std::ranges::count(knobs, key, &BitsKnob::key) > 0;
    };
    // Of an unknown key the recipe's reader says more.
    if (entry.bits.empty() && std::ranges::all_of(section.keys(), is_knob))
      overrides.fail(glob, str("has no effect; expected ", keys));
    entries_.push_back(std::move(entry));
  }
  if (overrides.has(kAny)) return;
  // Any glob stands here; for who lists the knobs.
  Recipe any = overrides.section(kAny, kEntryHelp);
  for (const BitsKnob& knob : knobs)
    any.maybe_integer(
        knob.key, in(static_cast<double>(knob.fewest), static_cast<double>(knob.most)), knob.help);
}

int64_t BitOverrides::most(const std::string& key, int64_t own) const {
  std::vector<int64_t> bits;
  for (const Entry& entry : entries_) {
    if (entry.bits.contains(key)) bits.push_back(entry.bits.at(key));
  }
  return bits.empty() ? own : *std::ranges::max_element(bits);
}

void BitOverrides::match(const QuantTargets& targets) {
  chosen_.clear();
  for (size_t e = 0; e < entries_.size(); ++e) {
    bool is_used = false;
    for (const QuantLayer& layer : targets.layers) {
      if (!names(entries_[e].glob, layer)) continue;
      is_used = true;
      for (const auto& [key, bits] : entries_[e].bits)
        chosen_[layer.path][key] = {.bits = bits, .entry = e};
    }
    if (!is_used) throw RecipeError(str(entries_[e].place, ": matches no layer that is rounded"));
  }
  std::set<std::pair<size_t, std::string>> counting;
  for (const auto& [layer, keys] : chosen_) {
    for (const auto& [key, choice] : keys) counting.emplace(choice.entry, key);
  }
  for (size_t e = 0; e < entries_.size(); ++e) {
    for (const auto& [key, place] : entries_[e].places) {
      if (!counting.contains({e, key}))
        throw RecipeError(
            str(place, ": has no effect: entries behind it name all of its layers again"));
    }
  }
}

const BitOverrides::Choice* BitOverrides::choice(const std::string& key,
                                                 const std::string& layer) const {
  const auto keys = chosen_.find(layer);
  if (keys == chosen_.end()) return nullptr;
  const auto found = keys->second.find(key);
  return found == keys->second.end() ? nullptr : &found->second;
}

int64_t BitOverrides::of(const std::string& key, const std::string& layer, int64_t own) const {
  const Choice* const found = choice(key, layer);
  return found == nullptr ? own : found->bits;
}

std::vector<int64_t> BitOverrides::of_layers(const std::string& key, const QuantTargets& targets,
                                             int64_t own) const {
  std::vector<int64_t> bits;
  for (const QuantLayer& layer : targets.layers) bits.push_back(of(key, layer.path, own));
  return bits;
}

std::vector<int64_t> BitOverrides::of_values(
    const std::string& key, const QuantTargets& targets,
    const std::function<int64_t(size_t value)>& own) const {
  std::vector<int64_t> bits;
  for (size_t v = 0; v < targets.values.size(); ++v) bits.push_back(own(v));
  std::vector<const std::string*> wanted_by(bits.size(), nullptr);
  for (const QuantReader& reader : targets.readers) {
    const auto v = static_cast<size_t>(reader.value);
    const int64_t wanted = of(key, reader.layer, own(v));
    if (wanted_by[v] != nullptr && wanted != bits[v]) {
      const Choice* const mine = choice(key, reader.layer);
      const Choice& cause = mine != nullptr ? *mine : *choice(key, *wanted_by[v]);
      throw RecipeError(str(entries_[cause.entry].places.at(key), ": ", *wanted_by[v], " wants ",
                            bits[v], " bits of ", targets.values[v].name, ", and ", reader.layer,
                            ", which reads with the same scale, ", wanted,
                            "; expected one number for both"));
    }
    bits[v] = wanted;
    wanted_by[v] = &reader.layer;
  }
  return bits;
}

std::string bits_text(std::span<const int64_t> bits) {
  const auto [fewest, most] = std::ranges::minmax(bits);
  return fewest == most ? str(fewest, " bits") : str(fewest, " to ", most, " bits");
}

}  // namespace vtrain
