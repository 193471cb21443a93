#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vtrain::recipe_detail {

/// What an error says behind "unknown key; ": the right key, if `key` is what another framework
/// calls it or a slip of the keyboard, else the keys that `mapping` (an address) has.
std::string unknown_key_hint(const std::string& mapping, std::string_view key,
                             const std::vector<std::string>& known);

/// "a, b, c"
std::string comma_list(const std::vector<std::string>& words);

}  // namespace vtrain::recipe_detail
