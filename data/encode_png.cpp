// PNG files through stb_image_write: the door to that header.
#include "data/encode_png.h"

#include "tensor/str.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC  // a program that brings its own stb_image_write keeps it
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

namespace vtrain {

std::string encode_png(const Image& image) {
  const ImageSize& size = image.size;
  const bool has_channels = size.channels == 1 || size.channels == 3;
  if (!has_channels || size.numel() == 0)
    throw Error(str("PNG: expected an image of 1 or 3 channels, got ",
                    shape_text({size.height, size.width, size.channels})));
  std::string file;
  const auto append = [](void* to, void* bytes, int count) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(bytes),
                                          static_cast<size_t>(count));
  };
  const auto width = static_cast<int>(size.width), channels = static_cast<int>(size.channels);
  if (stbi_write_png_to_func(append, &file, width, static_cast<int>(size.height), channels,
                             image.pixels.data(), width * channels) == 0)
    throw Error("PNG: out of memory");
  return file;
}

}  // namespace vtrain
