#include "app/network_input.h"

namespace vtrain {

InputFormat input_of(const Network& network, const ImageSize& own) {
  const int64_t side = network.architecture().options.image_size;
  InputFormat input{.size = {own.channels, side, side}};
  input.is_resized = network.preprocessing.crop_pct > 0 || own.height != side || own.width != side;
  if (network.preprocessing.crop_pct > 0) input.crop_pct = network.preprocessing.crop_pct;
  if (network.preprocessing.interpolation == name_of(Interpolation::kBicubic)) {
    input.interpolation = Interpolation::kBicubic;
  }
  return input;
}

void check_fits(const Network& network, const std::string& weights, const Dataset& data) {
  const ModelOptions& model = network.architecture().options;
  if (data.classes() != model.num_classes) {
    throw RecipeError(str(weights, ": computes ", model.num_classes, " classes, ", data.name(),
                          " has ", data.classes()));
  }
  if (data.image_size().channels != model.channels) {
    throw RecipeError(str(weights, ": wants images of ", model.channels, " channels, ", data.name(),
                          " has ", data.image_size().channels));
  }
}

}  // namespace vtrain
