#pragma once

#include <map>
#include <string>

namespace vtrain {

/// The pages of docs/methods/, by file name: one per registered method, from the opening comment of
/// its source and from the knobs that its constructor declares, and README.md with the survey's
/// techniques and what there is of them. `root` is vtrain's tree. Throws IoError if a source is not
/// there.
std::map<std::string, std::string> method_pages(const std::string& root);

}  // namespace vtrain
