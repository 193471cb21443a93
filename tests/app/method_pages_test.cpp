// docs/methods/ is what `vtrain docs` makes of the sources as they are.
#include <doctest/doctest.h>

#include <filesystem>

#include "compress/registry.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;

TEST_CASE("method pages: those of the tree are current; ./build/vtrain docs makes them so") {
  const TemporaryFolder folder;
  const std::string root = VTRAIN_SOURCE_DIR, tree = root + "/docs/methods";
  const ProcessResult made = run_vtrain({"docs", "--root", root, "--out", folder.path()});
  REQUIRE_MESSAGE(made.exit_code == 0, made.errors);
  for (const auto& [from, to] : {std::pair{folder.path(), tree}, {tree, folder.path()}}) {
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename();
      // The table of all methods may be older than the newest: adding one edits no existing file.
      if (!name.ends_with(".md") || name == "README.md") continue;
      CAPTURE(name);
      REQUIRE(fs::exists(to + "/" + name));
      CHECK(file_content(from + "/" + name) == file_content(to + "/" + name));
    }
  }
}

TEST_CASE("method pages: a page has the opening comment, formulas as they are, and the knobs") {
  const std::string page = file_content(VTRAIN_SOURCE_DIR "/docs/methods/kd.md");
  CHECK(page.starts_with("# kd\n\nA student learns the softened classes of a teacher.\n"));
  CHECK(page.find("\n```text\n  L = ce_weight CE(z_s, y) + kd_weight T^2 KL(softmax(z_t / T) || "
                  "softmax(z_s / T))\n```\n") != std::string::npos);
  CHECK(page.find("| `teacher` | required | text | a phase, a file, or self |") !=
        std::string::npos);
  CHECK(page.find("[recipes/vgg14_kd.yaml](../../recipes/vgg14_kd.yaml)") != std::string::npos);
}

TEST_CASE("method pages: what the table links to is there, and it names what is not built") {
  const std::string table = file_content(VTRAIN_SOURCE_DIR "/docs/methods/README.md");
  int64_t links = 0;
  for (size_t at = table.find("| ["); at != std::string::npos; at = table.find("| [", at + 1)) {
    const std::string name = table.substr(at + 3, table.find(']', at) - at - 3);
    CAPTURE(name);
    CHECK(find_method(name) != nullptr);
    ++links;
  }
  CHECK(links > 16);
  CHECK(table.find("| vtc_lfc | Channels and tokens") != std::string::npos);
}

TEST_CASE("method pages: outside the tree they cannot be made, exit 8") {
  const TemporaryFolder folder;
  const ProcessResult result = run_vtrain({"docs", "--root", folder.path()});
  CHECK(result.exit_code == 8);
  CHECK(result.errors.find("pages are made in vtrain's tree") != std::string::npos);
}

}  // namespace
}  // namespace vtrain
