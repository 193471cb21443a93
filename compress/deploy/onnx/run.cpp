#include "compress/deploy/onnx/run.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "tensor/atomic_file.h"
#include "tensor/ops/rows.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// Arguments: model, file of f32 images, their shape, batch, threads, file for the results, which
/// are written batch by batch, output by output, as f32. Prints the runtime's name. Exits with
/// kNoRuntime if there is none, with kCannotRun if it lacks an op, and says so.
constexpr const char* kScript = R"(
import sys

model, images, shape, batch, threads, results = sys.argv[1:]
try:
    import numpy as np
    try:
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = "onnxruntime " + onnxruntime.__version__
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator
        name = "onnx reference evaluator " + onnx.__version__
        try:
            session = ReferenceEvaluator(model)
        except Exception as lack:  # it has not every op of every opset
            print(name, "has no way to run it:", lack)
            sys.exit(4)
except ImportError:
    sys.exit(3)

shape = [int(extent) for extent in shape.split(",")]
batch = int(batch)
x = np.fromfile(images, dtype="<f4").reshape(shape)
with open(results, "wb") as out:
    for begin in range(0, shape[0], batch):
        for y in session.run(None, {"images": x[begin:begin + batch]}):
            out.write(np.ascontiguousarray(y, dtype="<f4").tobytes())
print(name)
)";
constexpr int kNoRuntime = 3, kCannotRun = 4, kCannotStart = 127;

/// A folder of our own for what the two programs hand each other.
class ExchangeFolder {
 public:
  ExchangeFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vtrain-onnx-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      throw IoError(str(pattern, ": cannot make a folder: ", std::strerror(errno)));
    path_ = pattern;
  }
  ~ExchangeFolder() {
    std::error_code ignored;  // what is left in a temporary folder harms nobody
    std::filesystem::remove_all(path_, ignored);
  }
  ExchangeFolder(const ExchangeFolder&) = delete;
  ExchangeFolder& operator=(const ExchangeFolder&) = delete;
  std::string operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// What posix_spawn does to the child's descriptors.
class Redirection {
 public:
  Redirection() { posix_spawn_file_actions_init(&actions_); }
  ~Redirection() { posix_spawn_file_actions_destroy(&actions_); }
  Redirection(const Redirection&) = delete;
  Redirection& operator=(const Redirection&) = delete;
  void to_file(int descriptor, const std::string& path) {
    posix_spawn_file_actions_addopen(&actions_, descriptor, path.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_ = {};
};

/// Runs a program found on the path to its end; its exit status, or kCannotStart.
int run_program(std::vector<std::string> arguments, const std::string& output,
                const std::string& errors) {
  Redirection files;
  files.to_file(STDOUT_FILENO, output);
  files.to_file(STDERR_FILENO, errors);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawnp(&child, argv[0], files.get(), nullptr, argv.data(), environ) != 0)
    return kCannotStart;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return kCannotStart;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// A Python exception's own line is its last.
std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \n");
  if (end == std::string::npos) return "it said nothing";
  const size_t begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1, end - begin);
}

Shape with_batch(Shape shape, int64_t batch) {
  for (int64_t& extent : shape) extent = extent < 0 ? -extent * batch : extent;
  return shape;
}

/// Takes the results apart again.
std::vector<Tensor> outputs_in(const std::string& bytes, const OnnxFile& file, int64_t images,
                               int64_t batch) {
  std::vector<std::vector<Tensor>> parts(file.outputs.size());
  size_t at = 0;
  for (int64_t begin = 0; begin < images; begin += batch) {
    for (size_t i = 0; i < file.outputs.size(); ++i) {
      Tensor part =
          Tensor::empty(with_batch(file.outputs[i].shape, std::min(batch, images - begin)));
      const auto size = static_cast<size_t>(part.bytes());
      if (size > bytes.size() - at) {
        throw Error(
            str("the runtime's value of ", file.outputs[i].name, " is shorter than ", part.shape()),
            ExitCode::kVerification);
      }
      std::memcpy(part.raw(), bytes.data() + at, size);
      at += size;
      parts[i].push_back(std::move(part));
    }
  }
  if (at != bytes.size())
    throw Error(str("the runtime's values have ", bytes.size(), " bytes, expected ", at),
                ExitCode::kVerification);
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Shape& shape = file.outputs[i].shape;
    const bool follows_batch = !shape.empty() && shape[0] < 0;
    outputs.push_back(follows_batch ? concat(parts[i], 0) : parts[i][0]);
  }
  return outputs;
}

}  // namespace

OnnxRun run_onnx(const std::string& path, const OnnxFile& file, const Tensor& images,
                 int64_t batch) {
  const char* const named = std::getenv("PYTHON");
  const std::string python = named != nullptr && *named != '\0' ? named : "python3";
  const ExchangeFolder folder;
  const Tensor pixels = images.to(Device()).to(DType::f32).contiguous();
  const std::string in = folder / "images", out = folder / "results", said = folder / "said",
                    errors = folder / "errors";
  write_file_atomically(
      in, {reinterpret_cast<const char*>(pixels.raw()), static_cast<size_t>(pixels.bytes())});
  std::string shape;
  for (const int64_t extent : pixels.shape()) shape += str(shape.empty() ? "" : ",", extent);

  const int status = run_program(
      {python, "-c", kScript, path, in, shape, str(batch), str(num_threads()), out}, said, errors);
  if (status == kNoRuntime) {
    return {
        {},
        str(python, " has neither onnxruntime nor onnx with numpy; PYTHON may name one that has"),
        {}};
  }
  if (status == kCannotRun) return {{}, last_line(content_of(said)), {}};
  if (status == kCannotStart) return {{}, str("cannot start ", python), {}};
  if (status != 0) {
    throw Error(str("the runtime cannot run it: ", last_line(content_of(errors))),
                ExitCode::kVerification);
  }
  return {last_line(content_of(said)), {}, outputs_in(content_of(out), file, pixels.dim(0), batch)};
}

}  // namespace vtrain
