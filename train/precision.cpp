#include "train/precision.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "tensor/cpu_level.h"
#include "tensor/onednn.h"
#include "tensor/parallel.h"
#include "train/environment.h"

namespace vtrain {
namespace {

/// Forward, loss and backward of a training step. No update, which is in f32 either way: the copy's
/// statistics may move, its weights do not.
void rehearse(Network& network, int64_t batch_size, DType dtype) {
  const ModelOptions& o = network.architecture().options;
  const Device device = network.device();
  Tensor images = Tensor::empty_channels_last({batch_size, o.channels, o.image_size, o.image_size},
                                              DType::f32, device);
  images.fill(0);
  Pass pass;
  pass.is_training = pass.wants_grad = true;
  pass.dtype = dtype;
  for (const Parameter& p : network.parameters()) p.clear_grad();
  const Outputs outputs = network.forward(images, pass);
  backward(
      mean(cross_entropy(outputs.logits, ones({batch_size, o.num_classes}, DType::f32, device))));
}

/// The folder for what runs may share: VTRAIN_CACHE, or the user's own by the XDG rules.
std::filesystem::path cache_folder() {
  if (const char* const own = std::getenv("VTRAIN_CACHE"); own && *own) return own;
  if (const char* const xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg)
    return std::filesystem::path(xdg) / "vtrain";
  const char* const home = std::getenv("HOME");
  return std::filesystem::path(home && *home ? home : "/tmp") / ".cache" / "vtrain";
}

/// Two runs that measure at the same time must end with one table: the first to write wins, and the
/// second takes what it finds. Held while the file is read, merged and written.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path)
      : fd_(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666)) {
    if (fd_ >= 0) flock(fd_, LOCK_EX);
  }
  ~FileLock() {
    if (fd_ >= 0) close(fd_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

/// Where this machine's choices are kept, and what they are measured with.
struct ChoicesFile {
  std::filesystem::path folder, file;
  std::string identity;
};
ChoicesFile choices_file() {
  const std::string identity = str(chip_name(), ", ", name_of(cpu_level()), ", ", num_threads(),
                                   " threads, oneDNN ", onednn::version());
  const std::filesystem::path folder = cache_folder();
  std::ostringstream name;
  name << "choices-" << std::hex << XXH64(identity.data(), identity.size(), 0) << ".txt";
  return {folder, folder / name.str(), identity};
}

}  // namespace

void share_choices(const std::function<void(const std::string&)>& note) {
  Choices& choices = Choices::of_process();
  const auto [folder, file, identity] = choices_file();
  try {
    std::error_code ignored;  // if it is not there, opening the file says so
    std::filesystem::create_directories(folder, ignored);
    const FileLock lock(folder / "lock");
    Choices::Table found;
    try {
      found = Choices::read(file.string(), identity);
    } catch (const Error&) {
      found.clear();  // damaged: it is replaced, and the user was told when it was read first
    }
    choices.add(found);
    if (choices.table() != found) Choices::write(file.string(), identity, choices.table());
  } catch (const Error& error) {
    note(str("warning: measured choices are not kept for the next run: ", error.what()));
  }
}

DType make_choices(const Network& network, int64_t batch_size, Amp amp,
                   const std::function<void(const std::string&)>& note) {
  const auto [folder, file, identity] = choices_file();
  Choices& choices = Choices::of_process();
  try {
    choices.add(Choices::read(file.string(), identity));
  } catch (const Error& error) {
    note(str("warning: ", error.what(), "; it is measured anew"));
  }

  const std::unique_ptr<Network> copy = network.clone();
  const ModelOptions& o = network.architecture().options;
  choices.set_measuring(true);
  const bool tries_f32 = amp != Amp::kBf16;
  const bool tries_bf16 = amp == Amp::kBf16 || (amp == Amp::kAuto && onednn::computes_bf16());
  // Choices inside a step first, so that the steps compared are those that will run.
  if (tries_f32) rehearse(*copy, batch_size, DType::f32);
  if (tries_bf16) rehearse(*copy, batch_size, DType::bf16);
  const std::string key = str("amp ", network.architecture().model, ", ", batch_size, " x ",
                              o.channels, " x ", o.image_size, ", ", o.num_classes, " classes");
  if (tries_f32 && tries_bf16) {
    choices.pick(key, 2,
                 [&](int i) { rehearse(*copy, batch_size, i == 0 ? DType::f32 : DType::bf16); });
  }
  choices.set_measuring(false);

  share_choices(note);
  // Read behind the file: a run that measured at the same time may have written first.
  const bool is_bf16 = tries_f32 && tries_bf16 ? choices.table().at(key) == 1 : tries_bf16;
  return is_bf16 ? DType::bf16 : DType::f32;
}

}  // namespace vtrain
