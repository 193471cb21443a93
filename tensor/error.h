#pragma once

#include <stdexcept>
#include <string>

namespace vtrain {

/// What the program's exit status says (documented in docs/exit-codes.md).
enum class ExitCode {
  kDone = 0,
  kInternal = 1,
  kUsage = 2,         // command line or recipe
  kData = 3,          // data missing, or damaged beyond data.max_bad
  kNonFinite = 4,     // training stopped at a loss or weight that is not finite
  kBudget = 5,        // the asked size cannot be reached
  kVerification = 6,  // two forms of a network that must agree do not, or --strict
  kCheckpoint = 7,    // no readable checkpoint
  kEnvironment = 8,   // device, disk, library
  kInterrupted = 130,
  kTerminated = 143,
};

/// Base of every error that is somebody's to mend: the message says where and what was expected.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kInternal)
      : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// Shapes or dtypes that do not fit: "[op] argument (shape): expected ..., got ...".
class ShapeError : public Error {
 public:
  explicit ShapeError(const std::string& message) : Error(message) {}
};

/// A device that is not there, or an op without a kernel on it.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message) : Error(message, ExitCode::kEnvironment) {}
};

/// A file that cannot be written, a full disk.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message) : Error(message, ExitCode::kEnvironment) {}
};

/// A data file that is missing, truncated or of another format.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(message, ExitCode::kData) {}
};

/// A recipe or a command line that says something impossible: "file:line: address: expected ...,
/// got ...".
class RecipeError : public Error {
 public:
  explicit RecipeError(const std::string& message) : Error(message, ExitCode::kUsage) {}
};

/// A weights file or checkpoint that is damaged or does not fit the network.
class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message) : Error(message, ExitCode::kCheckpoint) {}
};

}  // namespace vtrain
