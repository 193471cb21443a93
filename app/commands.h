#pragma once

namespace vtrain {

/// The whole command line: chooses the verb, runs it, and turns every error into one line on
/// standard error and its exit code.
int run_command(int argc, char** argv);

}  // namespace vtrain
