#include "tensor/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "tensor/dispatch.h"
#include "tensor/parallel.h"

namespace vtrain {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return c;
}

double uniform_from_bits(uint32_t bits) { return (static_cast<double>(bits >> 9) + 0.5) * 0x1p-23; }

namespace {
/// FNV-1a with a final mix: names become keys.
uint64_t hash_text(uint64_t h, std::string_view text) {
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return (h ^ 0xFF) * 0x100000001B3;  // so that ("a", "bc") and ("ab", "c") differ
}
uint64_t mixed(uint64_t h) {
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EB;
  return h ^ (h >> 31);
}
std::array<uint32_t, 4> counter(int64_t step, int64_t sample, int64_t block, int lane) {
  return {static_cast<uint32_t>(block), static_cast<uint32_t>(sample), static_cast<uint32_t>(step),
          static_cast<uint32_t>(lane) << 16 | static_cast<uint32_t>(step >> 32 & 0xFFFF)};
}
}  // namespace

Random::Random(uint64_t seed, std::string_view phase, std::string_view name) {
  const uint64_t h = mixed(hash_text(hash_text(mixed(seed + 0x9E3779B97F4A7C15), phase), name));
  key_ = {static_cast<uint32_t>(h), static_cast<uint32_t>(h >> 32)};
}

uint32_t Random::bits(int64_t step, int64_t sample, int64_t element, int lane) const {
  return philox(counter(step, sample, element / 4, lane), key_)[static_cast<size_t>(element % 4)];
}

double Random::uniform(int64_t step, int64_t sample, int64_t element, int lane) const {
  return uniform_from_bits(bits(step, sample, element, lane));
}

namespace {
/// Fills rows sample by sample; `draw` maps the four words of one block to four values.
template <class Draw>
Tensor fill_rows(const std::array<uint32_t, 2>& key, const Shape& shape, RandomPosition at,
                 int lane, DType dtype, Device device, const Draw& draw) {
  Tensor t = Tensor::empty(shape, dtype);
  if (t.numel() == 0) return t.to(device);
  const int64_t rows = shape.empty() ? 1 : shape[0], row = t.numel() / rows;
  dispatch_floating("random", dtype, [&]<class T>(T) {
    T* const out = t.data<T>();
    parallel_for(rows, std::max<int64_t>(1, 4096 / row), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        for (int64_t i = 0; i < row; i += 4) {
          const auto values = draw(philox(counter(at.step, at.first_sample + n, i / 4, lane), key));
          for (int64_t j = 0; j < 4 && i + j < row; ++j)
            out[n * row + i + j] = static_cast<T>(values[static_cast<size_t>(j)]);
        }
      }
    });
  });
  return t.to(device);
}
}  // namespace

Tensor Random::uniform(const Shape& shape, RandomPosition at, int lane, DType dtype,
                       Device device) const {
  return fill_rows(key_, shape, at, lane, dtype, device, [](const std::array<uint32_t, 4>& w) {
    return std::array{uniform_from_bits(w[0]), uniform_from_bits(w[1]), uniform_from_bits(w[2]),
                      uniform_from_bits(w[3])};
  });
}

Tensor Random::logistic(const Shape& shape, RandomPosition at, int lane, DType dtype,
                        Device device) const {
  return fill_rows(key_, shape, at, lane, dtype, device, [](const std::array<uint32_t, 4>& w) {
    std::array<double, 4> v{};
    for (size_t i = 0; i < 4; ++i) {
      const double u = uniform_from_bits(w[i]);
      v[i] = std::log(u) - std::log1p(-u);
    }
    return v;
  });
}

Tensor Random::normal(const Shape& shape, RandomPosition at, int lane, DType dtype,
                      Device device) const {
  return fill_rows(key_, shape, at, lane, dtype, device, [](const std::array<uint32_t, 4>& w) {
    std::array<double, 4> v{};
    for (size_t i = 0; i < 4; i += 2) {  // Box-Muller
      const double radius = std::sqrt(-2 * std::log(uniform_from_bits(w[i])));
      const double angle = 2 * M_PI * uniform_from_bits(w[i + 1]);
      v[i] = radius * std::cos(angle);
      v[i + 1] = radius * std::sin(angle);
    }
    return v;
  });
}

std::vector<int64_t> Random::permutation(int64_t n, int64_t step) const {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) {
    // 64 bits modulo i + 1: the bias is below 2^-40 for any data set that exists.
    const uint64_t word = uint64_t{bits(step, i, 0)} << 32 | bits(step, i, 1);
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(word % static_cast<uint64_t>(i + 1))]);
  }
  return order;
}

}  // namespace vtrain
