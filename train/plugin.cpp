#include "train/plugin.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "plugin_stamp.h"  // made by the build, cmake/plugin_stamp.cmake
#include "tensor/error.h"
#include "tensor/registry.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

[[noreturn]] void refuse_plugin(const std::string& file, const std::string& why) {
  throw Error(str(file, ": ", why), ExitCode::kEnvironment);
}

std::string bytes_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) refuse_plugin(file, str("cannot read: ", std::strerror(errno)));
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// What the file says it was built for. A library of another build must not run before it is known:
/// its initialisers would write into registries whose entries it takes for others.
std::string stamp_in(const std::string& file) {
  const std::string bytes = bytes_of(file), begin = VTRAIN_PLUGIN_STAMP_BEGIN;
  if (!bytes.starts_with("\177ELF")) refuse_plugin(file, "expected a shared library (ELF)");
  const size_t at = bytes.find(begin);
  const size_t end = at == std::string::npos ? at : bytes.find('\0', at);
  if (end == std::string::npos)
    refuse_plugin(file, "is no plug-in of vtrain: link it to vtrain::vtrain of the CMake package");
  return bytes.substr(at + begin.size(), end - at - begin.size());
}

}  // namespace

std::string plugin_stamp() { return VTRAIN_PLUGIN_STAMP; }

void load_plugin(const std::string& file) {
  const std::string stamp = stamp_in(file);
  if (stamp != plugin_stamp())
    refuse_plugin(file, str("was built for ", stamp, "; this is ", plugin_stamp(),
                            ": build it again with this vtrain's CMake package"));
  const CollectedConflicts conflicts;
  const std::string path = std::filesystem::absolute(file);  // a bare name would be searched for
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr)
    refuse_plugin(file, str("cannot be loaded: ", dlerror()));
  if (!conflicts.messages().empty()) refuse_plugin(file, conflicts.messages().front());
}

}  // namespace vtrain
