#include "app/viz.h"

#include <charconv>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>

#include "app/network_input.h"
#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
#include "data/dataset.h"
#include "data/decode.h"
#include "data/encode_png.h"
#include "data/read_file.h"
#include "data/transforms.h"
#include "nn/token_history.h"
#include "tensor/atomic_file.h"
#include "train/token_pictures.h"

namespace vtrain {
namespace {

/// An image as it was asked for.
struct AskedImage {
  std::string name;          // in names of files
  Image pixels;              // as it is kept, in the network's channels
  int64_t first_sample = 0;  // its number in its split, as in Pass
};

constexpr std::string_view kFromData = "data:";

AskedImage image_of_data(const std::string& asked, const Dataset& data) {
  const std::string_view text = std::string_view(asked).substr(kFromData.size());
  int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc{} && end == text.data() + text.size();
  if (!is_number || number < 0 || number >= data.size())
    throw RecipeError(str(asked, ": expected data:N with N in 0..", data.size() - 1,
                          ", an image of the test split of ", data.name()));
  AskedImage image{.name = str(data.name(), '_', number), .pixels = {}, .first_sample = number};
  if (data.is_encoded()) {
    EncodedImage file;
    data.encoded(number, file);
    image.pixels = decode_image(file.bytes, {.path = file.path});
  } else {
    image.pixels.resize(data.image_size());
    data.image(number, image.pixels.pixels.data());
  }
  return image;
}

AskedImage image_of_file(const std::string& path, int64_t channels) {
  const std::vector<uint8_t> bytes = read_file(path);
  return {.name = std::filesystem::path(path).stem().string(),
          .pixels = decode_image(bytes, {.path = path, .channels = channels})};
}

/// In the size of the network's inputs.
Image as_input(const Image& image, const Network& network) {
  const InputFormat input = input_of(network, image.size);
  if (!input.is_resized) return image;
  Image scaled, rows;
  scale(image, whole(image.size), evaluation_scaling(image.size, input), input.interpolation,
        scaled, rows);
  return scaled;
}

/// (1, C, H, W) f32 in channels last.
Tensor normalised(const Image& pixels, const Preprocessing& as) {
  const ImageSize& size = pixels.size;
  std::vector<float> hwc(static_cast<size_t>(size.numel()));
  Normalize(size.channels, as.mean, as.std).apply(pixels.pixels.data(), size, {}, hwc.data());
  std::vector<double> chw;
  for (int64_t c = 0; c < size.channels; ++c) {
    for (int64_t i = c; i < size.numel(); i += size.channels)
      chw.push_back(hwc[static_cast<size_t>(i)]);
  }
  return from_values({1, size.channels, size.height, size.width}, chw).channels_last();
}

struct DrawnImage {
  std::string name;
  Image input;
  PatchFates fates;
};

DrawnImage follow_patches(const AskedImage& asked, Network& network) {
  DrawnImage drawn{.name = asked.name, .input = as_input(asked.pixels, network), .fates = {}};
  const Tensor image = normalised(drawn.input, network.preprocessing);
  drawn.fates = patch_fates(token_history(network, image, asked.first_sample), 0);
  return drawn;
}

std::vector<DrawnImage> follow_patches(const VizArguments& arguments, Network& network) {
  const int64_t channels = network.architecture().options.channels;
  if (channels != 1 && channels != 3)
    throw RecipeError(str(arguments.weights, ": expected a network of grey or RGB images, got ",
                          channels, " channels"));
  if (network.preprocessing.mean.empty())
    throw RecipeError(str(arguments.weights, ": does not say how its images are normalised"));
  std::shared_ptr<const Dataset> data;  // opened for the first image that is taken from it
  std::map<std::string, std::string> names;
  std::vector<DrawnImage> all;
  bool has_changes = false;
  for (const std::string& asked : arguments.images) {
    const bool is_from_data = asked.starts_with(kFromData);
    if (is_from_data && data == nullptr) {
      data = open_dataset(arguments.data, {.root = arguments.root, .split = Split::kTest});
      check_fits(network, arguments.weights, *data);
    }
    const AskedImage image =
        is_from_data ? image_of_data(asked, *data) : image_of_file(asked, channels);
    if (const auto [found, is_new] = names.emplace(image.name, asked); !is_new)
      throw RecipeError(str(asked, ": would be written to the file of ", found->second, ", tokens_",
                            image.name, ".png; expected images of different names"));
    all.push_back(follow_patches(image, network));
    has_changes |= all.back().fates.has_changes();
  }
  if (!has_changes)
    throw RecipeError(
        str(arguments.weights, ": keeps every token of these images to its end: nothing to draw"));
  return all;
}

}  // namespace

ExitCode viz(const VizArguments& arguments) {
  if (is_int8_file(arguments.weights))
    throw RecipeError(str(arguments.weights,
                          ": computes on integers, which are not drawn; expected the file in reals "
                          "that it was made from"));
  const std::unique_ptr<Network> network = load_reals(arguments.weights);
  const std::vector<DrawnImage> images = follow_patches(arguments, *network);

  const std::filesystem::path out = arguments.out;
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) throw IoError(str(out.string(), ": ", error.message()));
  std::string table = kTokenTableHead;
  for (const DrawnImage& image : images) {
    const std::string file = (out / str("tokens_", image.name, ".png")).string();
    write_file_atomically(file, encode_png(token_panels(image.input, image.fates)));
    std::cout << file << ": " << token_caption(image.fates) << '\n';
    table += token_table(image.name, image.fates);
  }
  const std::string file = (out / "tokens.csv").string();
  write_file_atomically(file, table);
  std::cout << file << ": every patch, with the block in which it left and its token\n";
  return ExitCode::kDone;
}

}  // namespace vtrain
