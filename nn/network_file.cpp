#include "nn/network_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace vtrain {

void write_network_file(const std::string& path, const Network& network, NamedTensors file) {
  for (const auto& [name, tensor] : file.tensors) {
    if (!is_floating(tensor.dtype())) continue;
    for (const double v : tensor.to_vector()) {
      if (!std::isfinite(v))
        throw Error(str(path, ": not written: ", name, " holds a value that is not finite"),
                    ExitCode::kNonFinite);
    }
  }
  const Preprocessing& p = network.preprocessing;
  file.metadata["architecture"] = network.architecture().to_json();
  file.metadata["preprocessing"] = nlohmann::json{
      {"mean", p.mean},
      {"std", p.std},
      {"class_names", p.class_names},
      {"crop_pct", p.crop_pct},
      {"interpolation",
       p.interpolation}}.dump();
  write_safetensors(path, file);
}

}  // namespace vtrain
