#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compress/method.h"
#include "recipes/recipe.h"

namespace vtrain {

/// What a method leaves behind; reports use these words.
enum class ResultKind { kDenseSmaller, kPacked, kFileOnly, kTrainingOnly };
std::string name_of(ResultKind kind);  // "dense-smaller", ...

struct MethodInfo {
  std::string name, description, paper, file;
  ResultKind kind = ResultKind::kTrainingOnly;
  std::function<std::unique_ptr<Method>(Recipe&)> make;
};

void register_method(MethodInfo info, const char* file);

/// A method's one line of registration. Two files that register one name are an error that names
/// both.
template <class M>
struct Registered {
  Registered(std::string name, std::string paper, std::string description, ResultKind kind,
             const char* file = __builtin_FILE()) {
    register_method({std::move(name),
                     std::move(description),
                     std::move(paper),
                     {},
                     kind,
                     [](Recipe& r) { return std::make_unique<M>(r); }},
                    file);
  }
};

/// In order of names.
std::vector<MethodInfo> registered_methods();
/// nullptr if there is none.
const MethodInfo* find_method(const std::string& name);

}  // namespace vtrain
