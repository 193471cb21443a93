// What is left after a cut is deployed and exported like any network.
#include <doctest/doctest.h>

#include "compress/deploy/compare.h"
#include "compress/deploy/onnx.h"
#include "tensor/random.h"
#include "tests/cutting.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

struct Case {
  std::string model;
  int64_t channels, image_size;
  GroupedCut grouped;
};

TEST_CASE("compact networks: deployed, saved and exported, they compute what the cut one does") {
  for (const Case& c : {Case{"resnet20", 3, 32, GroupedCut::kAligned},
                        Case{"mobilenet_v2", 3, 64, GroupedCut::kAligned},
                        Case{"vgg_bn_28", 1, 28, GroupedCut::kAligned},
                        Case{"deit_micro_patch4_28", 1, 28, GroupedCut::kAligned},
                        Case{"deit_micro_patch4_28", 1, 28, GroupedCut::kWhole}}) {
    CAPTURE(c.model);
    const TemporaryFolder folder;
    Network network(
        {.model = c.model,
         .options = {.num_classes = 10, .channels = c.channels, .image_size = c.image_size},
         .parts = {}});
    const Tensor images = Random(2, "", "images")
                              .normal({20, c.channels, c.image_size, c.image_size}, {})
                              .channels_last();
    make_trained(network, 4);
    calibrate_batch_norm(network, images);
    const CutGroups groups(network, c.grouped);
    network.cut(groups.plan(lowest(network, groups, 0.5, CutScore::kRandom, 5)));

    Plan plan(network);
    CHECK(compare(plan, network, images, 1e-5).logits < 1e-5);
    network.save(folder / "compact.safetensors");
    const std::unique_ptr<Network> loaded = Network::load(folder / "compact.safetensors");
    CHECK(loaded->logits(images).to_vector() == network.logits(images).to_vector());

    // Structure is checked always; values where a runtime is found (docs/onnx.md).
    const OnnxReport report = export_onnx(*loaded, folder / "compact.onnx", images);
    CHECK(report.parameters == loaded->parameter_count());
    CHECK(report.bytes > 0);
    if (report.runtime.empty()) {
      MESSAGE("not run: " << report.why_not);
    } else {
      CHECK(report.difference < 1e-4);
      CHECK(report.same_class == images.dim(0));
    }
  }
}

}  // namespace
}  // namespace vtrain
