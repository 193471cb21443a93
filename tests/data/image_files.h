#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/decode.h"
#include "tests/golden.h"

namespace vtrain {

/// The bytes of tests/golden/images/<name>.
std::vector<uint8_t> image_file(const std::string& name);
/// The same as text, for put_file.
std::string image_text(const std::string& name);
/// rgb.png, decoded: the picture that stored results were made from.
Image picture(int64_t channels = 3);
/// A tensor (H, W, C) of tests/golden/images.safetensors.
Image stored_image(const std::string& tensor);

struct Difference {
  int most = 0;     // levels
  double mean = 0;  // of absolute values
};
/// Both must have one size.
Difference difference(const Image& a, const Image& b);

/// A tar archive in memory: members in order; a path that ends in '/' is a folder. `end`: with the
/// two zero blocks behind the last one.
using Members = std::vector<std::pair<std::string, std::string>>;
std::string tar_of(const Members& members, bool end = true);
/// One header with content, of any type flag.
std::string tar_member(const std::string& path, const std::string& content, char type);

}  // namespace vtrain
