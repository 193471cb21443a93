#pragma once

#include <string>

namespace vtrain {

/// The files of the worked example, as the tree had them when the program was built
/// (compress/prune/example.cpp and what belongs to it; CMakeLists.txt embeds them).
struct MethodTemplate {
  const char* source;
  const char* recipe;
  const char* test;
  const char* project;  // CMakeLists.txt of a project outside the tree
};
extern const MethodTemplate method_template;

}  // namespace vtrain
