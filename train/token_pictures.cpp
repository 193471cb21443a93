#include "train/token_pictures.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/str.h"

namespace vtrain {
namespace {

using Rgb = std::array<uint8_t, 3>;

constexpr int64_t kLeastSide = 224;  // of a panel, pixels
constexpr int64_t kGap = 8;

uint8_t byte_of(double x) { return static_cast<uint8_t>(std::lrint(std::clamp(x, 0.0, 255.0))); }

/// The colour at `hue`, a share of the circle, that is as bright and pure as there is.
Rgb pure_colour(double hue) {
  const auto channel = [hue](double turn) {  // trapezoids, a third of the circle apart
    const double at = std::fmod(hue * 6 + turn, 6);
    return byte_of(255 * std::clamp(std::min(at, 4 - at), 0.0, 1.0));
  };
  return {channel(2), channel(0), channel(4)};
}

/// Five colours of viridis, S. van der Walt and N. Smith, straight lines between them; x in [0, 1].
Rgb viridis(double x) {
  constexpr std::array<std::array<double, 3>, 5> kColours = {
      {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}};
  const double at = x * (kColours.size() - 1);
  const auto i = std::min(static_cast<size_t>(at), kColours.size() - 2);
  Rgb colour;
  for (size_t c = 0; c < 3; ++c)
    colour[c] = byte_of(kColours[i][c] +
                        (at - static_cast<double>(i)) * (kColours[i + 1][c] - kColours[i][c]));
  return colour;
}

/// Calls f(patch, pixel) for each pixel, three bytes, in rows. `AnyImage`: an image, const or not.
template <class AnyImage, class Function>
void for_each_pixel(AnyImage& image, const PatchFates& fates, const Function& f) {
  const int64_t patch = image.size.height / fates.side;
  for (int64_t y = 0; y < image.size.height; ++y) {
    auto* pixel = image.row(y);
    for (int64_t x = 0; x < image.size.width; ++x, pixel += 3)
      f(static_cast<size_t>(y / patch * fates.side + x / patch), pixel);
  }
}

void set(uint8_t* pixel, const Rgb& colour) { std::copy(colour.begin(), colour.end(), pixel); }

/// The mean colour of every group, at its lowest patch.
std::vector<Rgb> mean_colours(const Image& image, const PatchFates& fates) {
  struct Sum {
    std::array<int64_t, 3> of{};
    int64_t pixels = 0;
  };
  std::vector<Sum> sums(fates.group.size());
  for_each_pixel(image, fates, [&](size_t patch, const uint8_t* pixel) {
    if (fates.group[patch] < 0) return;
    Sum& sum = sums[static_cast<size_t>(fates.group[patch])];
    for (size_t c = 0; c < 3; ++c) sum.of[c] += pixel[c];
    ++sum.pixels;
  });
  std::vector<Rgb> means(sums.size());
  for (size_t g = 0; g < sums.size(); ++g) {
    for (size_t c = 0; c < 3 && sums[g].pixels > 0; ++c)
      means[g][c] =
          byte_of(static_cast<double>(sums[g].of[c]) / static_cast<double>(sums[g].pixels));
  }
  return means;
}

/// In RGB, each pixel a square of `factor` pixels.
Image enlarged(const Image& image, int64_t factor) {
  const int64_t channels = image.size.channels;
  Image large;
  large.resize({3, image.size.height * factor, image.size.width * factor});
  for (int64_t y = 0; y < large.size.height; ++y) {
    uint8_t* to = large.row(y);
    for (int64_t x = 0; x < large.size.width; ++x) {
      const uint8_t* const from = image.row(y / factor) + x / factor * channels;
      for (int64_t c = 0; c < 3; ++c) *to++ = from[channels == 1 ? 0 : c];
    }
  }
  return large;
}

Image beside(const std::vector<Image>& panels) {
  const auto count = static_cast<int64_t>(panels.size());
  const ImageSize one = panels.front().size;
  Image row;
  row.resize({3, one.height, count * one.width + (count - 1) * kGap});
  std::fill(row.pixels.begin(), row.pixels.end(), uint8_t{255});
  for (int64_t i = 0; i < count; ++i) {
    const Image& panel = panels[static_cast<size_t>(i)];
    for (int64_t y = 0; y < one.height; ++y)
      std::copy_n(panel.row(y), one.width * 3, row.row(y) + i * (one.width + kGap) * 3);
  }
  return row;
}

/// As a field of a line whose fields are parted by commas.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

}  // namespace

PatchFates patch_fates(const TokenHistory& history, int64_t sample) {
  const int64_t patches = history.side * history.side;
  const auto count = static_cast<size_t>(patches);
  PatchFates fates{.side = history.side,
                   .patch_size = history.patch_size,
                   .blocks = history.behind.empty() ? 0 : history.behind.back().block + 1,
                   .tokens = history.behind.empty() ? patches : history.behind.back().tokens,
                   .block_left = std::vector<int64_t>(count, -1),
                   .group = std::vector<int64_t>(count),
                   .stages = {}};
  for (size_t p = 0; p < count; ++p) fates.group[p] = static_cast<int64_t>(p);
  int64_t left = patches;
  for (const TokensBehind& behind : history.behind) {
    const std::vector<double> dest = behind.dest.select(0, sample).to_vector();
    std::vector<int64_t> lowest(static_cast<size_t>(behind.tokens), -1);
    PatchFates::Stage stage{.block = behind.block, .is_kept = std::vector<bool>(count)};
    for (size_t p = 0; p < count; ++p) {
      fates.group[p] = -1;
      if (dest[p] >= 0) {
        int64_t& first = lowest[static_cast<size_t>(dest[p])];
        if (first < 0) first = static_cast<int64_t>(p);
        fates.group[p] = first;
        stage.is_kept[p] = true;
        ++stage.kept;
      }
      if (fates.block_left[p] < 0 && fates.group[p] != static_cast<int64_t>(p))
        fates.block_left[p] = behind.block;
    }
    if (stage.kept < left) fates.stages.push_back(stage);
    left = stage.kept;
  }
  return fates;
}

Image kept_map(const Image& image, const PatchFates& fates, const PatchFates::Stage& stage) {
  Image map = image;
  for_each_pixel(map, fates, [&](size_t patch, uint8_t* pixel) {
    if (stage.is_kept[patch]) return;
    std::transform(pixel, pixel + 3, pixel, [](uint8_t p) { return byte_of(0.2 * p + 0.8 * 255); });
  });
  return map;
}

Image merged_map(const Image& image, const PatchFates& fates) {
  const std::vector<Rgb> means = mean_colours(image, fates);
  const int64_t patch = image.size.height / fates.side, height = image.size.height,
                width = image.size.width;
  const auto group_at = [&](int64_t y, int64_t x) -> int64_t {
    if (y < 0 || x < 0 || y >= height || x >= width) return -1;
    return fates.group[static_cast<size_t>(y / patch * fates.side + x / patch)];
  };
  const double golden_section = (std::sqrt(5.0) - 1) / 2;
  Image map = image;
  for (int64_t y = 0; y < height; ++y) {
    uint8_t* pixel = map.row(y);
    for (int64_t x = 0; x < width; ++x, pixel += 3) {
      const int64_t group = group_at(y, x);
      const bool is_border = group_at(y - 1, x) != group || group_at(y + 1, x) != group ||
                             group_at(y, x - 1) != group || group_at(y, x + 1) != group;
      if (group < 0) {
        set(pixel, {0, 0, 0});
      } else if (is_border) {
        set(pixel, pure_colour(std::fmod(static_cast<double>(group) * golden_section, 1)));
      } else {
        set(pixel, means[static_cast<size_t>(group)]);
      }
    }
  }
  return map;
}

Image depth_map(const Image& image, const PatchFates& fates) {
  Image map = image;
  for_each_pixel(map, fates, [&](size_t patch, uint8_t* pixel) {
    const int64_t block = fates.block_left[patch];
    set(pixel,
        viridis(block < 0 ? 1 : static_cast<double>(block) / static_cast<double>(fates.blocks)));
  });
  return map;
}

Image token_panels(const Image& image, const PatchFates& fates) {
  const int64_t side = fates.side * fates.patch_size;
  const bool is_drawable = image.size.channels == 1 || image.size.channels == 3;
  if (!is_drawable || image.size.height != side || image.size.width != side)
    throw ShapeError(str("token pictures: expected an image of ", side, " x ", side,
                         " pixels, grey or RGB, got ",
                         shape_text({image.size.height, image.size.width, image.size.channels})));
  const Image large = enlarged(image, (kLeastSide + side - 1) / side);
  std::vector<Image> panels{large};
  for (const PatchFates::Stage& stage : fates.stages)
    panels.push_back(kept_map(large, fates, stage));
  panels.push_back(merged_map(large, fates));
  panels.push_back(depth_map(large, fates));
  return beside(panels);
}

std::string token_caption(const PatchFates& fates) {
  const int64_t patches = fates.side * fates.side;
  std::string text = "image";
  for (const PatchFates::Stage& stage : fates.stages)
    text += str(" | ", stage.kept, " of ", patches, " patches behind block ", stage.block);
  return text + str(" | ", fates.tokens, " tokens at the end | blocks in which patches left");
}

std::string token_table(const std::string& image, const PatchFates& fates) {
  std::string lines;
  for (size_t p = 0; p < fates.group.size(); ++p) {
    const auto patch = static_cast<int64_t>(p);
    lines += str(field(image), ',', patch / fates.side, ',', patch % fates.side, ',',
                 fates.block_left[p], ',', fates.group[p], '\n');
  }
  return lines;
}

}  // namespace vtrain
