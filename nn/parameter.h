#pragma once

#include <memory>
#include <string>

#include "autograd/variable.h"
#include "nn/init.h"
#include "nn/pass.h"

namespace vtrain {

/// Shared handle on a named tensor of a network. Hooks capture Parameters, never Tensors: a handle
/// sees later edits, a copy does not.
class Parameter {
 public:
  Parameter() = default;
  /// f32, zero until initialised. A buffer belongs to the network's state but is not trained.
  Parameter(const Shape& shape, Init init, bool is_buffer = false);

  bool defined() const { return data_ != nullptr; }
  const std::string& path() const { return data_->path; }
  const Init& init() const { return data_->init; }
  void set_init(const Init& init) const { data_->init = init; }
  bool is_buffer() const { return data_->is_buffer; }

  const Tensor& value() const { return data_->raw.value(); }
  /// Moves the elements; a gradient is dropped. Before training: an optimizer's state stays where
  /// it is.
  void move_to(Device device);
  /// Copies new elements in; the shape stays.
  void set(const Tensor& value);
  /// Another tensor, of another shape, in its place; a gradient is dropped. Who keeps state beside
  /// the parameter must follow: Network::cut says how.
  void replace(Tensor value);

  /// The weight as the tape sees it: a leaf if the pass wants gradients and the parameter is
  /// trained, else a constant.
  Variable raw(const Pass& pass) const;
  /// raw through its transforms in slot order, once per pass, in the dtype the pass computes in.
  Variable effective(const Pass& pass) const;
  /// The same in the parameter's own dtype: scales, shifts and biases stay in f32.
  Variable effective_full(const Pass& pass) const;

  const Tensor& grad() const { return data_->raw.grad(); }  // undefined before backward
  void set_grad(Tensor grad) const { data_->raw.grad() = std::move(grad); }
  void clear_grad() const { data_->raw.clear_grad(); }

  bool is_frozen() const { return data_->frozen; }
  void freeze(bool frozen) const { data_->frozen = frozen; }

  void set_path(std::string path) const { data_->path = std::move(path); }
  const void* id() const { return data_.get(); }
  friend bool operator==(const Parameter& a, const Parameter& b) { return a.data_ == b.data_; }

 private:
  struct Data {
    std::string path;
    Init init;
    bool is_buffer = false, frozen = false;
    Variable raw;
  };
  std::shared_ptr<Data> data_;
};

}  // namespace vtrain
