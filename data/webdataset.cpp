// WebDataset: tar archives ("shards") whose members of one name but for the ending make a sample,
// 0001.jpg and 0001.cls, or 0001.json with {"label": 7}. The ending begins at the first dot of the
// file name. Aizman, Maltby, Breuel, "High Performance I/O For Large Scale Deep Learning", IEEE Big
// Data 2019, arXiv:2001.01858.
//
// Shards are indexed when the set is opened, and read at random afterwards: samples are shuffled
// like those of any other set, not through a buffer. Classes are the numbers 0 to the largest label
// of either split.
#include <glob.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "data/decode.h"
#include "data/encoded_dataset.h"
#include "data/tar.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

constexpr const char* kHint =
    "webdataset reads root/train-*.tar and root/test-*.tar or root/val-*.tar; root may be a "
    "pattern "
    "of the training shards, such as /data/x-train-{0000..0146}.tar";

/// "a{08..11}b" -> "a08b", "a09b", ...; "{x,y}" -> each; text without braces -> itself.
std::vector<std::string> expand_braces(const std::string& pattern) {
  const size_t open = pattern.find('{'), close = pattern.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return {pattern};
  const std::string before = pattern.substr(0, open),
                    inside = pattern.substr(open + 1, close - open - 1);
  std::vector<std::string> middles;
  if (const size_t dots = inside.find(".."); dots != std::string::npos) {
    const std::string low = inside.substr(0, dots), high = inside.substr(dots + 2);
    int64_t first = 0, last = -1;
    const bool is_range =
        std::from_chars(low.data(), low.data() + low.size(), first).ec == std::errc() &&
        std::from_chars(high.data(), high.data() + high.size(), last).ec == std::errc();
    if (!is_range || first > last) {
      throw DataError(str("data.root: ", pattern, ": expected a range such as {000..146}"));
    }
    for (int64_t i = first; i <= last; ++i) {
      const std::string number = std::to_string(i);
      middles.push_back(
          str(std::string(low.size() - std::min(low.size(), number.size()), '0'), number));
    }
  } else {
    for (size_t at = 0; at <= inside.size();) {
      const size_t comma = std::min(inside.find(',', at), inside.size());
      middles.push_back(inside.substr(at, comma - at));
      at = comma + 1;
    }
  }
  std::vector<std::string> all;
  for (const std::string& rest : expand_braces(pattern.substr(close + 1))) {
    for (const std::string& middle : middles) all.push_back(str(before, middle, rest));
  }
  std::ranges::sort(all);
  return all;
}

std::vector<std::string> files_like(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> files;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
  std::ranges::sort(files);  // by bytes; glob's order depends on the locale
  return files;
}

bool is_pattern(const std::string& root) { return root.find_first_of("{*?[") != std::string::npos; }

/// Pattern of the test shards: `train` in the file name becomes `word`, and a range of numbers
/// becomes any number, as there are fewer test shards.
std::string test_pattern(const std::string& pattern, const std::string& word) {
  const size_t name = pattern.rfind('/') + 1;  // 0 without a slash
  const size_t train = pattern.find("train", name);
  if (train == std::string::npos) {
    throw DataError(str("data.root: ", pattern,
                        ": expected \"train\" in the name of the training "
                        "shards, which is \"test\" or \"val\" in that of the test shards"));
  }
  std::string test = pattern;
  test.replace(train, 5, word);
  for (size_t open = 0; (open = test.find('{', open)) != std::string::npos; ++open) {
    const size_t close = test.find('}', open);
    if (close == std::string::npos) break;
    test.replace(open, close - open + 1, "*");
  }
  return test;
}

/// None: there are no shards of this split. A shard that a range of numbers names need not exist.
std::vector<std::string> shards_of(const std::string& root, Split split) {
  const std::string pattern = is_pattern(root) ? root : root + "/train-*.tar";
  if (split == Split::kTest) {
    std::vector<std::string> shards = files_like(test_pattern(pattern, "test"));
    return shards.empty() ? files_like(test_pattern(pattern, "val")) : shards;
  }
  std::vector<std::string> shards;
  for (const std::string& path : expand_braces(pattern)) {
    if (is_pattern(path)) {
      const std::vector<std::string> found = files_like(path);
      shards.insert(shards.end(), found.begin(), found.end());
    } else {
      shards.push_back(path);
    }
  }
  return shards;
}

/// The members of one sample, as they come.
struct Sample {
  std::string key;
  std::optional<TarEntry> image, cls, json;
};

class ShardReader {
 public:
  /// Appends the samples of `file`, which is archive number `archive`.
  static void read(const RandomAccessFile& file, int archive, std::vector<ImageFile>& files) {
    const ShardReader reader(file);
    std::vector<Sample> samples;
    for (TarEntry& entry : read_tar_index(file)) {
      if (entry.is_folder) continue;
      const size_t name = entry.path.rfind('/') + 1;
      const size_t dot = std::min(entry.path.find('.', name), entry.path.size());
      const std::string key = entry.path.substr(0, dot), ending = entry.path.substr(dot);
      if (samples.empty() || samples.back().key != key) samples.emplace_back().key = key;
      Sample& sample = samples.back();
      if (ending == ".cls") {
        sample.cls = std::move(entry);
      } else if (ending == ".json") {
        sample.json = std::move(entry);
      } else if (has_image_name(ending) && ending.rfind('.') == 0 && !sample.image) {
        sample.image = std::move(entry);
      }
    }
    for (const Sample& sample : samples) {
      if (!sample.image) continue;  // a label or a text alone
      files.push_back({.path = sample.image->path,
                       .archive = archive,
                       .offset = sample.image->offset,
                       .bytes = sample.image->bytes,
                       .label = reader.label_of(sample)});
    }
  }

 private:
  explicit ShardReader(const RandomAccessFile& file) : file_(file) {}

  [[noreturn]] void fail(const std::string& member, const std::string& what) const {
    throw DataError(str(file_.path(), ':', member, ": ", what));
  }

  std::string text_of(const TarEntry& entry) const {
    constexpr int64_t kMost = 1 << 20;
    if (entry.bytes > kMost) fail(entry.path, str("expected a label, got ", entry.bytes, " bytes"));
    std::string text(static_cast<size_t>(entry.bytes), '\0');
    file_.read(entry.offset, reinterpret_cast<uint8_t*>(text.data()), entry.bytes);
    return text;
  }

  int label_of(const Sample& sample) const {
    constexpr int kMostClasses = 1 << 20;
    if (!sample.cls && !sample.json) {
      fail(sample.key, "has an image but no label; expected a .cls or .json of the same name");
    }
    const TarEntry& entry = sample.cls ? *sample.cls : *sample.json;
    const std::string text = text_of(entry);
    int label = -1;
    if (sample.cls) {
      const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
      const size_t end = text.find_last_not_of(" \t\r\n") + 1;
      const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, label);
      if (error != std::errc() || rest != text.data() + end) label = -1;
    } else {
      const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
      const auto found = json.is_object() ? json.find("label") : json.end();
      if (json.is_object() && found != json.end() && found->is_number_integer()) {
        // As wide as JSON's numbers, so that one beyond int is not taken for a small one.
        label = static_cast<int>(std::clamp<int64_t>(found->get<int64_t>(), -1, kMostClasses));
      }
    }
    if (label < 0 || label >= kMostClasses) {
      fail(entry.path,
           sample.cls ? "expected a class number" : "expected \"label\": a class number");
    }
    return label;
  }

  const RandomAccessFile& file_;
};

int largest_label(const std::vector<ImageFile>& files) {
  int largest = 0;
  for (const ImageFile& file : files) largest = std::max(largest, file.label);
  return largest;
}

EncodedFiles read_shards(const std::vector<std::string>& shards) {
  EncodedFiles content{.name = "webdataset", .class_names = {}, .files = {}};
  for (const std::string& path : shards) {
    RandomAccessFile shard(path, kHint);
    ShardReader::read(shard, static_cast<int>(content.archives.size()), content.files);
    content.archives.push_back(std::move(shard));
  }
  return content;
}

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  if (options.root.empty()) throw DataError(str("data.root: missing; ", kHint));
  const std::vector<std::string> shards = shards_of(options.root, options.split);
  if (shards.empty()) {
    throw DataError(str(options.root, ": no shards of the ",
                        options.split == Split::kTrain ? "training" : "test", " split; ", kHint));
  }
  EncodedFiles content = read_shards(shards);
  // One split may be used without the other, but where both are there they have the same classes.
  const Split other = options.split == Split::kTrain ? Split::kTest : Split::kTrain;
  std::vector<std::string> others = shards_of(options.root, other);
  std::erase_if(others, [](const std::string& path) { return !std::filesystem::exists(path); });
  const int largest =
      std::max(largest_label(content.files), largest_label(read_shards(others).files));
  for (int k = 0; k <= largest; ++k) content.class_names.push_back(std::to_string(k));
  return std::make_shared<EncodedDataset>(std::move(content));
}

const RegisteredDataset registered("webdataset",
                                   "shards root/train-*.tar and root/test-*.tar (or val) of "
                                   "key.jpg or key.png with key.cls or key.json",
                                   open);

}  // namespace
}  // namespace vtrain
