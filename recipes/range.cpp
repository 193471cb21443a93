#include "recipes/node.h"
#include "recipes/recipe.h"
#include "tensor/str.h"

namespace vtrain {

bool Range::holds(double x) const {
  const bool is_high_enough = low_open ? x > low : x >= low;
  const bool is_low_enough = high_open ? x < high : x <= high;
  return is_high_enough && is_low_enough;
}

std::string Range::text() const {
  using recipe_detail::number_text;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool has_low = low != -kInfinity, has_high = high != kInfinity;
  if (has_low && has_high) {
    return str("in ", low_open ? '(' : '[', number_text(low), ", ", number_text(high),
               high_open ? ')' : ']');
  }
  if (has_low) return str(low_open ? "above " : "at least ", number_text(low));
  if (has_high) return str(high_open ? "below " : "at most ", number_text(high));
  return "";
}

Range at_least(double low) { return {.low = low}; }
Range above(double low) { return {.low = low, .low_open = true}; }
Range in(double low, double high) { return {.low = low, .high = high}; }
Range in_open_low(double low, double high) { return {.low = low, .high = high, .low_open = true}; }

}  // namespace vtrain
