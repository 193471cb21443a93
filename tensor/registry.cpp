#include "tensor/registry.h"

#include <cstdio>
#include <cstdlib>

namespace vtrain {
namespace {
/// Where conflicts go; nullptr: nobody collects them.
std::vector<std::string>*& collected() {
  static std::vector<std::string>* messages = nullptr;
  return messages;
}
}  // namespace

void refuse_second(const std::string& name, const std::string& first, const std::string& second) {
  const std::string message = name + " is registered twice: in " + first + " and in " + second;
  if (collected() != nullptr) {
    collected()->push_back(message);
    return;
  }
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

CollectedConflicts::CollectedConflicts() { collected() = &messages_; }
CollectedConflicts::~CollectedConflicts() { collected() = nullptr; }

}  // namespace vtrain
