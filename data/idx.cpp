#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>

#include "data/read_file.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// The content of a file in order, unpacked on the way if it is gzip.
class Content {
 public:
  Content(std::string path, const std::string& hint)
      : path_(std::move(path)), file_(read_file(path_, hint)) {
    is_gzip_ = file_.size() >= 2 && file_[0] == 0x1F && file_[1] == 0x8B;
    stream_.next_in = file_.data();
    stream_.avail_in = static_cast<uInt>(file_.size());
    constexpr int kGzip = 16;  // added to the window size: expect gzip's header and checksum
    if (file_.size() > UINT32_MAX) fail("is larger than 4 GiB");
    if (is_gzip_ && inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) fail("zlib cannot start");
  }
  ~Content() {
    if (is_gzip_) inflateEnd(&stream_);
  }
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  [[noreturn]] void fail(const std::string& what) const { throw DataError(str(path_, ": ", what)); }

  bool is_gzip() const { return is_gzip_; }
  size_t file_bytes() const { return file_.size(); }

  /// Fills `out`; throws if the content ends before.
  void read(std::span<uint8_t> out) {
    const size_t got = read_some(out);
    position_ += got;
    if (got == out.size()) return;
    const size_t expected = position_ - got + out.size();
    const char* const where = is_gzip_ && !ended_ ? "the gzip stream is truncated" : "is truncated";
    fail(str(where, " at byte ", file_.size() - stream_.avail_in, " of the file: expected ",
             expected, " bytes of content, got ", position_));
  }

  /// Throws unless the content, and the file, ends here; verifies gzip's checksum.
  void expect_end() {
    uint8_t next = 0;
    if (is_gzip_ && read_some({&next, 1}) > 0)
      fail(str("expected ", position_, " bytes of content, got more"));
    const size_t offset = file_.size() - stream_.avail_in;
    if (is_gzip_ && !ended_) fail(str("the gzip stream is truncated at byte ", offset));
    if (stream_.avail_in > 0) {
      fail(str(stream_.avail_in, " bytes of trailing garbage at byte ", offset));
    }
  }

 private:
  size_t read_some(std::span<uint8_t> out) {
    if (!is_gzip_) {
      const size_t count = std::min<size_t>(out.size(), stream_.avail_in);
      if (count > 0) std::memcpy(out.data(), stream_.next_in, count);
      stream_.next_in += count;
      stream_.avail_in -= static_cast<uInt>(count);
      return count;
    }
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    while (!ended_ && stream_.avail_out > 0) {
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        ended_ = true;
      } else if (status == Z_BUF_ERROR) {
        break;  // no input left
      } else if (status != Z_OK) {
        fail(str("damaged gzip data at byte ", file_.size() - stream_.avail_in, ": ",
                 stream_.msg ? stream_.msg : zError(status)));
      }
    }
    return out.size() - stream_.avail_out;
  }

  std::string path_;
  std::vector<uint8_t> file_;
  z_stream stream_{};    // next_in and avail_in serve plain files too
  size_t position_ = 0;  // in the content
  bool is_gzip_ = false;
  bool ended_ = false;  // the gzip stream did
};

int64_t big_endian(const uint8_t* p) {
  return int64_t{p[0]} << 24 | int64_t{p[1]} << 16 | int64_t{p[2]} << 8 | int64_t{p[3]};
}

std::string hex(std::span<const uint8_t> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text = "0x";
  for (const uint8_t b : bytes) text += {digits[b >> 4], digits[b & 15]};
  return text;
}

class IdxDataset final : public Dataset {
 public:
  IdxDataset(IdxArray images, IdxArray labels, IdxDescription description)
      : images_(std::move(images)),
        labels_(std::move(labels)),
        description_(std::move(description)) {}

  std::string name() const override { return description_.name; }
  int64_t size() const override { return images_.shape[0]; }
  ImageSize image_size() const override { return {1, images_.shape[1], images_.shape[2]}; }
  std::vector<std::string> class_names() const override { return description_.class_names; }
  std::vector<double> default_mean() const override { return description_.mean; }
  std::vector<double> default_std() const override { return description_.std; }
  void image(int64_t i, uint8_t* hwc) const override {
    const int64_t bytes = image_size().numel();
    std::copy_n(images_.bytes.data() + i * bytes, bytes, hwc);
  }
  int label(int64_t i) const override { return labels_.bytes[static_cast<size_t>(i)]; }

 private:
  IdxArray images_, labels_;
  IdxDescription description_;
};

}  // namespace

IdxArray read_idx(const std::string& path, int dimensions, const std::string& hint) {
  Content content(path, hint);
  uint8_t magic[4];
  content.read(magic);
  const uint8_t expected[4] = {0, 0, 8, static_cast<uint8_t>(dimensions)};
  if (!std::ranges::equal(magic, expected)) {
    content.fail(str("wrong magic number at byte 0: expected ", hex(expected), " (idx, ",
                     dimensions, " dimensions), got ", hex(magic)));
  }
  IdxArray array;
  int64_t count = 1;
  for (int i = 0; i < dimensions; ++i) {
    uint8_t extent[4];
    content.read(extent);
    array.shape.push_back(big_endian(extent));
    // deflate shrinks at most 1032-fold, so a damaged extent is refused before memory is asked for
    // it.
    const int64_t most = std::min<int64_t>(
        UINT32_MAX, static_cast<int64_t>(content.file_bytes()) * (content.is_gzip() ? 1032 : 1));
    if (__builtin_mul_overflow(count, array.shape.back(), &count) || count > most) {
      content.fail(str("shape ", array.shape, " in the header does not fit a file of ",
                       content.file_bytes(), " bytes; it is truncated or damaged"));
    }
  }
  array.bytes.resize(static_cast<size_t>(count));
  content.read(array.bytes);
  content.expect_end();
  return array;
}

std::shared_ptr<const Dataset> open_idx_dataset(const std::string& root, Split split,
                                                const IdxDescription& description) {
  const auto path = [&](const char* rest) {
    const std::string plain = str(root, '/', split == Split::kTrain ? "train-" : "t10k-", rest);
    return !std::filesystem::exists(plain) ? plain + ".gz" : plain;
  };
  const std::string images_path = path("images-idx3-ubyte"),
                    labels_path = path("labels-idx1-ubyte");
  IdxArray labels = read_idx(labels_path, 1, description.hint);
  IdxArray images = read_idx(images_path, 3, description.hint);
  if (images.shape[0] != labels.shape[0]) {
    throw DataError(str(labels_path, ": expected ", images.shape[0], " labels, one per image of ",
                        images_path, ", got ", labels.shape[0]));
  }
  if (images.bytes.empty()) throw DataError(str(images_path, ": holds no images"));
  const size_t classes = description.class_names.size();
  const auto bad = std::ranges::find_if(labels.bytes, [&](uint8_t y) { return y >= classes; });
  if (bad != labels.bytes.end()) {
    throw DataError(str(labels_path, ": label of image ", bad - labels.bytes.begin(),
                        ": expected 0..", classes - 1, ", got ", int{*bad}));
  }
  return std::make_shared<IdxDataset>(std::move(images), std::move(labels), description);
}

}  // namespace vtrain
