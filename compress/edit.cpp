#include "compress/edit.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

double relative_difference(const Tensor& a, const Tensor& b) {
  check_same_shape("relative_difference", "a", a, "b", b);
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double difference = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference = std::max(difference, std::abs(x[i] - y[i]));
    scale = std::max(scale, std::abs(x[i]));
  }
  return scale > 0 ? difference / scale : difference;
}

Edit::Edit(Network& network, std::string owner, Tensor images, std::function<void(double)> verified)
    : network_(network),
      owner_(std::move(owner)),
      images_(std::move(images)),
      verified_(std::move(verified)) {}

Edit& Edit::replace(std::string place, std::shared_ptr<Module> part) {
  parts_.emplace_back(std::move(place), std::move(part));
  return *this;
}

void Edit::apply() {
  const Tensor before = network_.logits(images_);
  network_.hooks().remove_owner(owner_);
  for (auto& [place, part] : parts_) network_.set_part(place, std::move(part));
  parts_.clear();
  verified_(relative_difference(before, network_.logits(images_)));
}

}  // namespace vtrain
