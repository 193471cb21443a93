#include "train/environment.h"

#include <sys/utsname.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string_view>
#include <thread>

#include "tensor/cpu_level.h"
#include "tensor/onednn.h"
#include "tensor/parallel.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// The value of the first line "key<tabs>: value" of /proc/cpuinfo; "" if there is none.
std::string cpuinfo(std::string_view key) {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key) || line.find_first_of("\t: ", key.size()) != key.size()) continue;
    const size_t begin = line.find_first_not_of(' ', line.find(':') + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

/// Those of the CPU's flags that oneDNN or our kernels choose by.
nlohmann::ordered_json cpu_flags() {
  std::istringstream words(cpuinfo("flags"));
  const std::set<std::string> present{std::istream_iterator<std::string>(words), {}};
  auto found = nlohmann::ordered_json::array();
  for (const char* flag : {"avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16",
                           "amx_bf16", "amx_int8"}) {
    if (present.contains(flag)) found.push_back(flag);
  }
  return found;
}

std::string compiler() {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

std::string kernel() {
  utsname name = {};
  if (uname(&name) != 0) return "unknown";
  return str(static_cast<const char*>(name.sysname), " ", static_cast<const char*>(name.release));
}

}  // namespace

std::string chip_name() {
  const std::string name = cpuinfo("model name");
  return name.empty() ? "unknown" : name;
}

std::string environment_json() {
  const nlohmann::ordered_json environment = {
      {"vtrain", VTRAIN_VERSION},
      {"compiler", compiler()},
      {"chip", chip_name()},
      {"cpu_flags", cpu_flags()},
      {"cpu_level", name_of(cpu_level())},
      {"cores", std::thread::hardware_concurrency()},
      {"threads", num_threads()},
      {"onednn", onednn::version()},
      {"kernel", kernel()},
  };
  return environment.dump(2) + "\n";
}

}  // namespace vtrain
