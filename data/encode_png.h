#pragma once

#include <string>

#include "data/image.h"

namespace vtrain {

/// The image as a PNG file, 8 bits a channel, grey or RGB. The same image gives the same bytes.
/// Throws Error for other channels and for an image without pixels.
std::string encode_png(const Image& image);

}  // namespace vtrain
