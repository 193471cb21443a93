#include "tensor/device.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/per_device.h"

namespace vtrain {
namespace {

struct Kernels {
  int (*answer)();
};
int forty_two() { return 42; }

TEST_CASE("device: text and parse are inverse") {
  CHECK(Device{}.text() == "cpu");
  CHECK(Device::parse("cpu") == Device{});
  CHECK(Device::parse("cpu:1") == Device{.type = DeviceType::cpu(), .index = 1});
  CHECK(Device::parse("cpu:1").text() == "cpu:1");
}

TEST_CASE("device: an unknown name lists what there is, a bad index is refused") {
  CHECK_THROWS_WITH_AS(Device::parse("gpu"), doctest::Contains("device gpu: no such device"),
                       DeviceError);
  CHECK_THROWS_WITH_AS(Device::parse("gpu"), doctest::Contains("there is cpu"), DeviceError);
  for (const char* const text : {"cpu:", "cpu:x", "cpu:1x", "cpu:-1"}) {
    CHECK_THROWS_WITH_AS(Device::parse(text),
                         str("device ", text, ": expected a number behind the colon").c_str(),
                         DeviceError);
  }
}

TEST_CASE("device: an op without a kernel on a device says so, one with it is called") {
  PerDevice<Kernels> kernels("answer");
  CHECK_THROWS_WITH_AS(kernels.on(Device{}), "[answer] no kernel on device cpu", DeviceError);
  kernels.add(DeviceType::cpu(), {forty_two});
  CHECK(kernels.on(Device{}).answer() == 42);
  CHECK_THROWS_WITH_AS(Device::parse("gpu"), doctest::Contains("gpu"), DeviceError);
}

// A device type stays registered for the life of the process, so another one is only made in a
// child.
TEST_CASE("device: two kernel tables for one device end the program at start-up") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);  // not the test runner's report
    close(STDERR_FILENO);
    open("/dev/null", O_WRONLY);
    PerDevice<Kernels> kernels("answer");
    kernels.add(DeviceType::cpu(), {forty_two});
    kernels.add(DeviceType::cpu(), {forty_two});
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
}

}  // namespace
}  // namespace vtrain
