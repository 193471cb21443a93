#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nn/parameter.h"
#include "nn/tokens.h"

namespace vtrain {

/// A layer: named parameters, named children, and a forward that reads as its formula.
///
/// Calling a module runs, in order: the permanent module at X.in, the hooks at X.in, `forward`
/// inside the wraps, the hooks at X.out, the permanent module at X.out. Not copyable: children know
/// their place.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// A module overrides one of the two. By default forward_tokens runs forward on the values and
  /// passes the rest on.
  virtual Variable forward(const Variable& x, const Pass& pass);
  virtual Tokens forward_tokens(const Tokens& t, const Pass& pass);

  Variable operator()(const Variable& x, const Pass& pass);
  Tokens operator()(const Tokens& t, const Pass& pass);
  /// For a fused op, which has computed what `forward` would have: what hangs at "X.out".
  Variable leave(const Variable& v, const Pass& pass);

  /// What builds it again: a registered kind and numbers. Only permanent parts
  /// (nn/module_registry.h) need both.
  virtual std::string kind() const { return {}; }
  virtual std::map<std::string, double> attributes() const { return {}; }

  /// Numbers of its computation that tensors do not determine and a cut of channels changes, by the
  /// names of its ops' attributes: groups of a convolution, sizes of heads. They stand in the
  /// architecture record once they differ from what the constructor gave.
  virtual std::map<std::string, double> structure() const { return {}; }
  /// Takes what `structure` names. Throws CheckpointError for a name it does not have.
  virtual void set_structure(const std::map<std::string, double>& numbers);

  /// From now on the input is the output, and nothing below exists: for blocks that are cut whole.
  void drop();
  bool is_dropped() const { return is_dropped_; }

  const std::string& path() const { return path_; }
  /// Sets the path of this module and of all below it, and of their parameters.
  void set_path(const std::string& path);

  /// Own parameters and those below, in order of declaration, permanent parts included.
  std::vector<Parameter> parameters() const;
  /// This module and those below, parents first.
  std::vector<Module*> modules();
  Module* child(std::string_view name);  // nullptr if there is none
  void initialise(uint64_t seed);        // every parameter from the stream named by its path

  /// Puts a permanent module at X.in or X.out (`end` is "in" or "out"); an empty pointer takes it
  /// away.
  void set_part(std::string_view end, std::shared_ptr<Module> part);
  const std::shared_ptr<Module>& part(std::string_view end) const {
    return end == "in" ? in_ : out_;
  }

 protected:
  Parameter add(std::string name, Parameter parameter);
  void add(std::string name, Module& child);

 private:
  std::string joined(std::string_view name) const;

  std::string path_;
  bool is_dropped_ = false;
  std::vector<std::pair<std::string, Parameter>> parameters_;
  std::vector<std::pair<std::string, Module*>> children_;
  std::shared_ptr<Module> in_, out_;
};

/// `number` as what a module calls `name`: one of `least`, whole, and at least that. Throws
/// CheckpointError, naming the module.
int64_t whole_number(const std::string& module, const std::string& name, double number,
                     const std::map<std::string, int64_t>& least);

}  // namespace vtrain
