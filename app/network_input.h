#pragma once

#include <string>

#include "data/dataset.h"
#include "data/input_format.h"
#include "nn/network.h"

namespace vtrain {

/// How an image of size `own` becomes an input: the evaluation transform that the network was
/// trained with. Weights of another program do not say: then images are resized unless they have
/// the network's size. The channels are those of `own`.
InputFormat input_of(const Network& network, const ImageSize& own);

/// Throws RecipeError, beginning with the file of the weights, if the network computes other
/// classes than the data set has, or takes images of other channels.
void check_fits(const Network& network, const std::string& weights, const Dataset& data);

}  // namespace vtrain
