#pragma once

#include <string>
#include <vector>

#include "compress/registry.h"

namespace vtrain {

/// A knob of a method, as its constructor declares it.
struct Knob {
  KeyInfo key;            // address counted from the method's section: "rate", "budget.macs"
  std::string only_with;  // "mode: joint" if it is read in that case alone; "": always
};

/// The knobs of a method in the order in which its constructor reads them, found by constructing
/// it: with nothing set but what it requires, and once for every other value of each choice and
/// flag.
std::vector<Knob> knobs_of(const MethodInfo& method);

}  // namespace vtrain
