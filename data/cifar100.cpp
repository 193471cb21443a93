// CIFAR-100 in its binary version: 50,000 + 10,000 colour photos of 32x32 pixels, a hundred classes
// (the fine labels; the twenty coarse ones are passed over).
#include "data/cifar.h"

namespace vtrain {
namespace {

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  return open_cifar(
      options,
      {.name = "cifar100",
       .archive_folder = "cifar-100-binary",
       .train_files = {"train.bin"},
       .test_files = {"test.bin"},
       .label_bytes = 2,  // coarse, fine
       .class_names = {"apple",    "aquarium_fish", "baby",       "bear",         "beaver",
                       "bed",      "bee",           "beetle",     "bicycle",      "bottle",
                       "bowl",     "boy",           "bridge",     "bus",          "butterfly",
                       "camel",    "can",           "castle",     "caterpillar",  "cattle",
                       "chair",    "chimpanzee",    "clock",      "cloud",        "cockroach",
                       "couch",    "crab",          "crocodile",  "cup",          "dinosaur",
                       "dolphin",  "elephant",      "flatfish",   "forest",       "fox",
                       "girl",     "hamster",       "house",      "kangaroo",     "keyboard",
                       "lamp",     "lawn_mower",    "leopard",    "lion",         "lizard",
                       "lobster",  "man",           "maple_tree", "motorcycle",   "mountain",
                       "mouse",    "mushroom",      "oak_tree",   "orange",       "orchid",
                       "otter",    "palm_tree",     "pear",       "pickup_truck", "pine_tree",
                       "plain",    "plate",         "poppy",      "porcupine",    "possum",
                       "rabbit",   "raccoon",       "ray",        "road",         "rocket",
                       "rose",     "sea",           "seal",       "shark",        "shrew",
                       "skunk",    "skyscraper",    "snail",      "snake",        "spider",
                       "squirrel", "streetcar",     "sunflower",  "sweet_pepper", "table",
                       "tank",     "telephone",     "television", "tiger",        "tractor",
                       "train",    "trout",         "tulip",      "turtle",       "wardrobe",
                       "whale",    "willow_tree",   "wolf",       "woman",        "worm"},
       .mean = {0.5071, 0.4865, 0.4409},
       .std = {0.2673, 0.2564, 0.2762}});
}

const RegisteredDataset registered("cifar100",
                                   "CIFAR-100, 100 classes, 32x32 colour, 50,000 + 10,000, binary "
                                   "version, from data.root",
                                   open);

}  // namespace
}  // namespace vtrain
