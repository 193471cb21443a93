#include "tests/data/image_files.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {

std::string image_text(const std::string& name) {
  return file_content(str(VTRAIN_SOURCE_DIR, "/tests/golden/images/", name));
}

std::vector<uint8_t> image_file(const std::string& name) {
  const std::string text = image_text(name);
  REQUIRE(!text.empty());
  return {text.begin(), text.end()};
}

Image picture(int64_t channels) {
  return decode_image(image_file("rgb.png"), {.path = "rgb.png", .channels = channels});
}

Image stored_image(const std::string& tensor) {
  static const Golden golden("images");
  const Tensor& t = golden(tensor);
  Image image;
  image.resize({.channels = t.dim(2), .height = t.dim(0), .width = t.dim(1)});
  std::copy_n(t.data<uint8_t>(), t.numel(), image.pixels.begin());
  return image;
}

Difference difference(const Image& a, const Image& b) {
  REQUIRE(a.size == b.size);
  Difference d;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const int off = std::abs(int{a.pixels[i]} - int{b.pixels[i]});
    d.most = std::max(d.most, off);
    d.mean += static_cast<double>(off) / static_cast<double>(a.pixels.size());
  }
  return d;
}

std::string tar_member(const std::string& path, const std::string& content, char type) {
  std::string header(512, '\0');
  header.replace(0, std::min<size_t>(path.size(), 100), path, 0, 100);
  const auto octal = [&](size_t at, const char* format, size_t value) {
    char digits[16];
    const int n = std::snprintf(digits, sizeof digits, format, value);
    header.replace(at, static_cast<size_t>(n), digits);
  };
  octal(100, "%07zo", 0644);
  octal(124, "%011zo", content.size());
  header[156] = type;
  header.replace(257, 5, "ustar");
  header.replace(263, 2, "00");
  header.replace(148, 8, "        ");
  size_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  octal(148, "%06zo", sum);
  header[154] = '\0';
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

std::string tar_of(const Members& members, bool end) {
  std::string bytes;
  for (const auto& [path, content] : members) {
    bytes += tar_member(path, content, path.ends_with('/') ? '5' : '0');
  }
  return end ? bytes + std::string(1024, '\0') : bytes;
}

}  // namespace vtrain
