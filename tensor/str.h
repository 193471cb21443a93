#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace vtrain {

/// "(2, 3)": how shapes read in messages.
inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << ')';
  return out.str();
}

namespace str_detail {
template <class T>
void append(std::ostringstream& out, const T& part) {
  out << part;
}
inline void append(std::ostringstream& out, const std::vector<int64_t>& shape) {
  out << shape_text(shape);
}
inline void append(std::ostringstream& out, bool value) { out << (value ? "true" : "false"); }
}  // namespace str_detail

/// Joins its arguments to one string; shapes are written as "(2, 3)". Messages are built with it.
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (str_detail::append(out, parts), ...);
  return out.str();
}

}  // namespace vtrain
