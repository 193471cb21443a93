#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace vtrain {

enum class Interpolation { kBilinear, kBicubic };
std::string_view name_of(Interpolation interpolation);  // "bilinear", "bicubic"

/// A rectangle of an image that is scaled to `height` x `width`, and the window of the result that
/// is kept. Pixels outside the rectangle have no influence, as if the image had been cropped first.
struct Scaling {
  Box source;                     // in the image
  int64_t height = 0, width = 0;  // what `source` becomes
  Box window;                     // in that
};

/// The pixels of the image that the result depends on: what has to be decoded.
Box pixels_needed(const Scaling& scaling, Interpolation interpolation);

/// Scales with antialiasing: each pixel of the result is a mean of the source around it, weighted
/// by a triangle (bilinear) or by Keys' cubic with a = -1/2 (bicubic) that is widened by the scale
/// when the image shrinks. Rows first, rounded to bytes, then columns, with weights of 22
/// fractional bits: the same integers as PIL's Image.crop(source).resize((width,
/// height)).crop(window). (Pillow 13 takes columns first for some shapes, which rounds otherwise:
/// bilinear by one level at most.)
///   part     pixels of the image, of its rectangle `at`, which holds pixels_needed()
///   result   becomes (window.height, window.width, channels)
///   rows     scratch, kept by the caller so that its memory is used again
void scale(const Image& part, const Box& at, const Scaling& scaling, Interpolation interpolation,
           Image& result, Image& rows);

namespace resize_detail {

/// Along one axis, result pixel i is the sum over t < length[i] of weights[i * most + t] times
/// source pixel first[i] + t, over 2^22.
struct Weights {
  std::vector<int32_t> first, length, weights;
  int64_t most = 0;  // weights of one result pixel
};
constexpr int kFractionBits = 22;

/// Of result pixels [begin, end) when `from` pixels become `to`. Source pixels count from 0.
Weights make_weights(int64_t from, int64_t to, int64_t begin, int64_t end,
                     Interpolation interpolation);

/// The loops, in resize_cpu.cpp. `source`: the first pixel of a row, whose pixel 0 is the source's
/// pixel 0 of `w`; `count` result pixels of `channels` bytes.
void scale_row(const uint8_t* source, const Weights& w, int64_t count, int64_t channels,
               uint8_t* result);
/// One row of the result from `length` rows of `bytes` bytes, `stride` bytes apart.
void blend_rows(const uint8_t* source, int64_t stride, const int32_t* weights, int64_t length,
                int64_t bytes, uint8_t* result);

}  // namespace resize_detail
}  // namespace vtrain
