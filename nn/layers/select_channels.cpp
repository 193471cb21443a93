#include "nn/layers/select_channels.h"

#include <numeric>
#include <vector>

#include "autograd/select_channels.h"
#include "nn/module_registry.h"

namespace vtrain {

SelectChannels::SelectChannels(int64_t channels)
    : channels_(channels),
      index_(add("index", Parameter({channels}, Init::zeros(), /*is_buffer=*/true))) {
  std::vector<double> all(static_cast<size_t>(channels));
  std::iota(all.begin(), all.end(), 0);
  index_.set(from_values({channels}, all));
}

SelectChannels::SelectChannels(const std::map<std::string, double>& attributes)
    : SelectChannels(static_cast<int64_t>(attributes.at("channels"))) {}

std::map<std::string, double> SelectChannels::attributes() const {
  return {{"channels", static_cast<double>(channels_)}};
}

Variable SelectChannels::forward(const Variable& x, const Pass& pass) {
  return select_channels(x, index_.effective_full(pass));
}

namespace {
const RegisteredModule<SelectChannels> registered("select_channels");
}  // namespace

}  // namespace vtrain
