#include "compress/archive.h"

#include <charconv>
#include <sstream>

namespace vtrain {
namespace {
/// Shortest text that reads back to the same bits.
std::string to_text(double x) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), x);
  return {buffer, result.ptr};
}

template <class T>
T parsed(std::string_view name, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw CheckpointError(str("method state ", name, ": expected a number, got ", text));
  }
  return value;
}

std::string to_text(int64_t x) { return std::to_string(x); }
}  // namespace

const std::string& Archive::stored(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  if (found == values_.end())
    throw CheckpointError(str("method state ", name, ": is missing from the checkpoint"));
  return found->second;
}

Archive& Archive::operator()(std::string_view name, double& member) {
  if (is_loading_) {
    member = parsed<double>(name, stored(name));
  } else {
    values_[std::string(name)] = to_text(member);
  }
  return *this;
}

Archive& Archive::operator()(std::string_view name, int64_t& member) {
  if (is_loading_) {
    member = parsed<int64_t>(name, stored(name));
  } else {
    values_[std::string(name)] = std::to_string(member);
  }
  return *this;
}

Archive& Archive::operator()(std::string_view name, bool& member) {
  int64_t number = member ? 1 : 0;
  (*this)(name, number);
  member = number != 0;
  return *this;
}

Archive& Archive::operator()(std::string_view name, std::string& member) {
  if (is_loading_) {
    member = stored(name);
  } else {
    values_[std::string(name)] = member;
  }
  return *this;
}

/// Numbers with a space behind each.
template <class T>
Archive& Archive::list(std::string_view name, std::vector<T>& member) {
  if (!is_loading_) {
    std::string& text = values_[std::string(name)];
    text.clear();
    for (const T x : member) text += to_text(x) + ' ';
    return *this;
  }
  member.clear();
  std::istringstream in(stored(name));
  for (std::string word; in >> word;) member.push_back(parsed<T>(name, word));
  return *this;
}

Archive& Archive::operator()(std::string_view name, std::vector<double>& member) {
  return list(name, member);
}

Archive& Archive::operator()(std::string_view name, std::vector<int64_t>& member) {
  return list(name, member);
}

}  // namespace vtrain
