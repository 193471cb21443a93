#include "compress/knobs.h"

#include <algorithm>
#include <map>
#include <sstream>

namespace vtrain {
namespace {

constexpr const char* kSection = "method";
constexpr const char* kRequired = "required";  // what Recipe::required_text gives as the default

/// What the constructor reads when these values are set. It may refuse them: what it asked for
/// until then counts.
std::vector<KeyInfo> declared_with(const MethodInfo& method,
                                   const std::map<std::string, std::string>& values) {
  std::string knobs;
  for (const auto& [key, value] : values) knobs += str(knobs.empty() ? "" : ", ", key, ": ", value);
  Recipe recipe = Recipe::from_text(str(kSection, ": {", knobs, "}"), "knobs");
  Recipe section = recipe.section(kSection);
  try {
    method.make(section);
  } catch (const RecipeError&) {  // of values that only stand for something
  }
  std::vector<KeyInfo> keys = section.declared();
  for (KeyInfo& key : keys) key.address = key.address.substr(std::string(kSection).size() + 1);
  return keys;
}

/// The other values of a choice or flag; a section is read by some methods only if it is there.
std::vector<std::string> alternatives(const KeyInfo& key) {
  if (key.type == "section") return {"{}"};
  if (key.type == "true or false") return {key.default_text == "true" ? "false" : "true"};
  const std::string one_of = "one of ";
  if (!key.range.starts_with(one_of)) return {};
  std::vector<std::string> words;
  std::istringstream in(key.range.substr(one_of.size()));
  for (std::string word; std::getline(in >> std::ws, word, ',');) {
    if (word != key.default_text) words.push_back(word);
  }
  return words;
}

}  // namespace

std::vector<Knob> knobs_of(const MethodInfo& method) {
  std::map<std::string, std::string> required;
  std::vector<KeyInfo> keys = declared_with(method, required);
  const auto is_missing = [&](const KeyInfo& key) {
    return key.default_text == kRequired && !required.contains(key.address);
  };
  for (auto missing = std::ranges::find_if(keys, is_missing); missing != keys.end();
       missing = std::ranges::find_if(keys, is_missing)) {
    required[missing->address] = "given";
    keys = declared_with(method, required);
  }
  std::vector<Knob> knobs;
  for (const KeyInfo& key : keys) knobs.push_back({key, ""});
  for (const KeyInfo& key : keys) {
    for (const std::string& value : alternatives(key)) {
      std::map<std::string, std::string> values = required;
      values[key.address] = value;
      for (const KeyInfo& other : declared_with(method, values)) {
        const auto is_same = [&](const Knob& knob) { return knob.key.address == other.address; };
        if (std::ranges::any_of(knobs, is_same)) continue;
        const bool is_below = other.address.starts_with(key.address + ".");
        knobs.push_back({other, is_below ? "" : str(key.address, ": ", value)});
      }
    }
  }
  return knobs;
}

}  // namespace vtrain
