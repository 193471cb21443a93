// A function with external or weak linkage that was compiled for AVX-512 may be the copy that the
// linker keeps for everybody, and then the program dies on older CPUs. So nothing but the tables
// may leave the *_simd.cpp files.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
  REQUIRE(pipe);
  std::string text;
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe.get())) > 0;) text.append(buffer, n);
  return text;
}

/// "0000000000000000 D vtrain::avx2::gelu_simd": may this symbol be defined there?
bool is_allowed(const std::string& line) {
  const size_t at = line.find(' ');
  if (at == std::string::npos || at + 3 > line.size()) return true;
  const char kind = line[at + 1];
  const std::string name = line.substr(at + 3);
  // A sanitizer's own, and the pointer to the exception handler that its builds need: data, alike
  // at every level.
  if (name.starts_with("__") || name.starts_with("DW.ref.__")) return true;
  const bool is_weak = kind == 'W' || kind == 'w' || kind == 'V' || kind == 'v' || kind == 'u';
  const bool is_global = kind >= 'A' && kind <= 'Z';
  return !is_weak && (!is_global || (name.ends_with("_simd") && kind != 'T'));
}

}  // namespace

TEST_CASE(
    "simd: object files of a higher level define no symbol that another file could be given, but "
    "their tables") {
  CHECK(is_allowed("0000000000000000 D vtrain::avx2::gelu_simd"));
  CHECK(is_allowed("0000000000000000 t (anonymous namespace)::sum_lanes"));
  CHECK_FALSE(is_allowed("0000000000000000 W std::max"));
  CHECK_FALSE(is_allowed("0000000000000000 T vtrain::helper"));
  if (std::system("nm --version >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: there is no nm");
    return;
  }
  for (const std::string level : {"avx2", "avx512", "avx512_bf16"}) {
    const std::filesystem::path folder =
        std::string(VTRAIN_BINARY_DIR "/CMakeFiles/vtrain_") + level + ".dir";
    if (!std::filesystem::exists(folder)) {
      MESSAGE("skipped: object files of level ", level, " are not in the build folder");
      continue;
    }
    int files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".o") continue;
      ++files;
      const std::string symbols = output_of("nm -C --defined-only '" + entry.path().string() + "'");
      for (size_t begin = 0; begin < symbols.size();) {
        const size_t end = std::min(symbols.find('\n', begin), symbols.size());
        const std::string line = symbols.substr(begin, end - begin);
        CHECK_MESSAGE(is_allowed(line), entry.path().filename().string(), ": ", line);
        begin = end + 1;
      }
    }
    CHECK(files > 0);
  }
}

TEST_CASE("simd: object files of a level use that level's registers") {
  if (std::system("objdump --version >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: there is no objdump");
    return;
  }
  struct Level {
    std::string name, registers, higher;
  };
  for (const Level& level : {Level{"baseline", "xmm", "ymm"}, Level{"avx2", "ymm", "zmm"},
                             Level{"avx512", "zmm", "tmm"}}) {
    CAPTURE(level.name);
    const std::filesystem::path file = std::string(VTRAIN_BINARY_DIR "/CMakeFiles/vtrain_") +
                                       level.name + ".dir/tensor/ops/attention_simd.cpp.o";
    if (!std::filesystem::exists(file)) {
      MESSAGE("skipped: object files of level ", level.name, " are not in the build folder");
      continue;
    }
    const std::string code = output_of("objdump -d '" + file.string() + "'");
    CHECK(code.find('%' + level.registers) != std::string::npos);
    CHECK(code.find('%' + level.higher) == std::string::npos);
  }
}
