#pragma once

#include <string>

namespace vtrain {

/// What plug-ins must have been built for, to be loaded by this build: "vtrain 0.1.0, headers
/// 5f0c..., libstdc++ 12, C++11 ABI". Any change of a public header makes it another.
std::string plugin_stamp();

/// Loads a shared library whose static initialisers register methods, models, data sets or
/// optimizers, as the files of the tree do. The stamp is read from the file before any of its code
/// runs. Throws Error (kEnvironment): the file is missing, no shared library, no plug-in, built for
/// another vtrain, cannot be linked, or registers a name that is taken.
void load_plugin(const std::string& file);

}  // namespace vtrain
