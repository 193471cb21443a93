#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nn/hooks.h"
#include "nn/models/model.h"
#include "nn/module_registry.h"
#include "tensor/safetensors.h"

namespace vtrain {

/// A permanent part that stands at a place of a network.
struct PartRecord {
  std::string place;  // "blocks.2.in"
  std::string kind;   // nn/module_registry.h
  Attributes attributes;
};

/// The architecture record: what tensors alone do not determine. It is kept in a weights file's
/// metadata, so a network is built from its file and needs neither recipe nor method.
struct Architecture {
  std::string model;
  ModelOptions options;
  std::vector<PartRecord> parts;
  // What cuts have changed since the model was made, by path:
  std::map<std::string, Shape> shapes = {};          // of parameters
  std::map<std::string, Attributes> structure = {};  // Module::structure
  std::vector<std::string> dropped = {};             // modules that hand their input on

  /// It is not what its model makes: a method has left parts or cut something.
  bool is_changed() const {
    return !parts.empty() || !shapes.empty() || !structure.empty() || !dropped.empty();
  }

  std::string to_json() const;
  /// Throws CheckpointError.
  static Architecture from_json(const std::string& text);
};

/// A change of a network's sizes: what is left of axes of parameters, and the numbers that go with
/// it.
struct NetworkCut {
  struct Axis {
    std::string parameter;
    int axis = 0;
    std::vector<int64_t> keep;  // sorted
  };
  std::vector<Axis> axes;
  std::map<std::string, Attributes> structure = {};  // by module
  std::vector<std::string> dropped = {};             // modules
};

/// A change of a network's sizes the other way: positions of an axis that are there more than once.
struct NetworkGrowth {
  struct Axis {
    std::string parameter;
    int axis = 0;
    std::vector<int64_t> from;    // of each position of the new axis, the one it is a copy of
    std::vector<int64_t> copies;  // positions of the new axis that are not the first of theirs
    bool is_read = false;         // inputs of a layer: a position and its copies share its weight
  };
  std::vector<Axis> axes;
  std::map<std::string, Attributes> structure = {};  // by module
};

/// How pixels become inputs, and what the outputs are called: travels with the weights.
struct Preprocessing {
  std::vector<double> mean, std;
  std::vector<std::string> class_names;
  double crop_pct = 0;  // 0: images have the network's size; else they are resized, see data/
  std::string interpolation = {};  // then "bilinear" or "bicubic"
};

/// A model with its record and with the hooks that methods attached to it.
class Network {
 public:
  /// Builds the model and its parts; parameters are zero. Throws RecipeError for an unknown model
  /// or impossible sizes.
  explicit Network(Architecture architecture);

  Model& root() { return *model_; }
  const Architecture& architecture() const { return architecture_; }
  Hooks& hooks() { return hooks_; }
  Preprocessing preprocessing;

  /// Runs the network with its hooks.   images (N, C, H, W) f32, on any device
  /// Layers compute in pass.dtype; what comes out is f32 again.
  Outputs forward(const Tensor& images, const Pass& pass);
  /// Logits in evaluation mode, hooks on.
  Tensor logits(const Tensor& images);

  /// Moves all parameters and buffers, and those of parts that come later. A network starts on the
  /// CPU.
  void move_to(Device device);
  Device device() const { return device_; }

  void initialise(uint64_t seed) { model_->initialise(seed); }

  /// Throw Error if there is none.
  Module& module(std::string_view path);
  Parameter parameter(std::string_view path);
  bool has_module(std::string_view path);
  std::vector<Parameter> parameters() const { return model_->parameters(); }
  int64_t parameter_count() const;  // trained elements

  /// Puts a permanent part at a place ("blocks.2.in") and writes it into the record.
  void set_part(const std::string& place, std::shared_ptr<Module> part);

  /// Removes channels and blocks for good, in place: parameters keep their identity and get new
  /// tensors, and the record says so. Throws Error for a place that does not exist, before anything
  /// changes.
  void cut(const NetworkCut& cut);

  /// Widens, in place as `cut` does. Throws Error for a place that does not exist, before anything
  /// changes.
  void grow(const NetworkGrowth& growth);

  /// All parameters and buffers by path.
  std::map<std::string, Tensor> state() const;
  /// Copies values in. Throws CheckpointError if a name is missing, unknown, or of another shape;
  /// `from` names the source.
  void load_state(const std::map<std::string, Tensor>& tensors, const std::string& from);

  /// The weights file: tensors, architecture record, preprocessing, class names, format version.
  void save(const std::string& path) const;
  static std::unique_ptr<Network> load(const std::string& path);

  /// An independent network of the same architecture, values and device, without hooks.
  std::unique_ptr<Network> clone() const;

 private:
  void shape_as_recorded();
  /// Of what modules shall have of `structure`, the numbers that are others now.
  std::map<std::string, Attributes> changed(const std::map<std::string, Attributes>& structure);
  void set_structure(const std::map<std::string, Attributes>& changed);
  void drop(const std::string& path);

  Architecture architecture_;
  std::unique_ptr<Model> model_;
  Device device_;
  Hooks hooks_;
};

}  // namespace vtrain
