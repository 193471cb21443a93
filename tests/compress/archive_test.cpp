#include "compress/archive.h"

#include <doctest/doctest.h>

namespace vtrain {
namespace {

TEST_CASE("archive: lists come back to the same bits, empty ones too") {
  std::vector<double> reals{0.1, -1.0 / 3, 5e-324, 1e300}, none;
  std::vector<int64_t> whole{-7, 0, int64_t{1} << 60};
  Archive saving = Archive::saving();
  saving("reals", reals)("none", none)("whole", whole);
  const std::vector<double> reals_before = reals;
  const std::vector<int64_t> whole_before = whole;
  reals = {1};
  none = {2};
  whole.clear();
  Archive loading = Archive::loading(saving.values());
  loading("reals", reals)("none", none)("whole", whole);
  CHECK(reals == reals_before);
  CHECK(none.empty());
  CHECK(whole == whole_before);
}

TEST_CASE("archive: a list with a word that is no number is refused, naming the member") {
  std::vector<int64_t> whole;
  Archive loading = Archive::loading({{"whole", "1 2 three "}});
  CHECK_THROWS_WITH_AS(loading("whole", whole), "method state whole: expected a number, got three",
                       CheckpointError);
}

}  // namespace
}  // namespace vtrain
