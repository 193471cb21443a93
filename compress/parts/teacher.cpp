#include "compress/parts/teacher.h"

namespace vtrain {

Teacher::Teacher(std::unique_ptr<Network> network) : network_(std::move(network)) {}

void Teacher::show(const Tensor& images) {
  images_ = images;
  logits_ = Tensor();
  network_->hooks().clear_taps();
}

void Teacher::watch(const std::string& place) {
  if (!taps_.contains(place)) taps_[place] = network_->hooks().tap(place, "teacher");
}

void Teacher::run() {
  if (!logits_.defined()) logits_ = network_->logits(images_);
}

const Tensor& Teacher::logits() {
  run();
  return logits_;
}

const Tensor& Teacher::value(const std::string& place) {
  run();
  return taps_.at(place).value().value();
}

}  // namespace vtrain
