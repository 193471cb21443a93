#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "nn/module.h"

namespace vtrain {

/// Numbers that build a module again.
using Attributes = std::map<std::string, double>;

/// Registers a kind of module that methods leave in networks as a permanent part, so that a file
/// loads without the method. `Part` has a constructor from Attributes that inverts
/// Module::attributes.
void register_module(const std::string& kind,
                     std::function<std::shared_ptr<Module>(const Attributes&)> make,
                     const char* file);

template <class Part>
struct RegisteredModule {
  explicit RegisteredModule(const std::string& kind, const char* file = __builtin_FILE()) {
    register_module(
        kind, [](const Attributes& attributes) { return std::make_shared<Part>(attributes); },
        file);
  }
};

/// Throws CheckpointError: the file needs a kind that this build, or its plug-ins, does not have.
std::shared_ptr<Module> make_module(const std::string& kind, const Attributes& attributes);

}  // namespace vtrain
