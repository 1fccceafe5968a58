#include "gpu/driver.h"

#include <cstdint>
#include <new>
#include <thread>
#include <vector>

#include "gpu/shared_library.h"
#include "stubs.h"
#include "support/message.h"

namespace anact::gpu {
namespace {

using test::Calls;
using test::has;
using test::stub;
using test::Variable;

CudaDriver open_stub() { return CudaDriver(stub("driver/libcuda.so.1").string()); }

TEST(CudaDriver, DescribesItsDevices) {
  const Variable devices("ANACT_STUB_DEVICES", "9.0 12.0"), version("ANACT_STUB_DRIVER", "12090");
  const auto driver = open_stub();
  ASSERT_EQ(driver.devices().size(), 2u);
  EXPECT_EQ(driver.devices()[0].name, "Stub");
  EXPECT_EQ(driver.devices()[0].architecture, "sm_90");
  EXPECT_EQ(driver.devices()[1].architecture, "sm_120");
  EXPECT_EQ(driver.devices()[1].multiprocessors, 4);
  EXPECT_EQ(driver.major_version(), 12);
  EXPECT_EQ(driver.minor_version(), 9);
}

TEST(CudaDriver, SaysWhyThereIsNone) {
  const auto reason = message([] { const CudaDriver driver("libcuda_of_nobody.so.1"); });
  EXPECT_TRUE(
      reason.starts_with("no NVIDIA GPU can be used: there is no NVIDIA driver here, or it cannot be "
                         "opened: libcuda_of_nobody.so.1: "))
      << reason;
  const auto in_part = stub("in_part/libcuda.so.1").string();
  EXPECT_EQ(message([&] { const CudaDriver driver(in_part); }),
            "no NVIDIA GPU can be used: '" + in_part + "' has no function cuLaunchKernel");
  const Variable devices("ANACT_STUB_DEVICES", "");
  EXPECT_EQ(message([] { (void)open_stub(); }),
            "no NVIDIA GPU can be used: cuInit: CUDA_ERROR_NO_DEVICE, no CUDA-capable device is detected");
}

TEST(CudaDriver, LoadsAndLaunchesInTheDevicesContext) {
  const Variable devices("ANACT_STUB_DEVICES", "9.0 8.6");
  const auto driver = open_stub();
  const Calls calls;
  const auto first = driver.load(0, {.code = "CUBIN sm_90 f", .symbol = "f"});
  const auto second = driver.load(1, {.code = "CUBIN sm_86 g", .symbol = "g"});
  std::uint64_t threads = 0;
  std::uint64_t* counter = &threads;
  void* arguments[] = {&counter};
  int (*current_context)(void** context) = nullptr;
  SharedLibrary(stub("driver/libcuda.so.1").string()).bind(current_context, "cuCtxGetCurrent");
  // A thread that has no context, as autograd's, and has none afterwards.
  std::thread([&] {
    driver.launch(second, {.grid = {2, 3, 5}, .block = {7, 11, 13}, .shared_bytes = 17}, reinterpret_cast<void*>(19),
                  arguments);
    driver.launch(first, {.grid = {.x = 4}, .block = {.x = 32}}, nullptr, arguments);
    void* context = &threads;
    current_context(&context);
    EXPECT_EQ(context, nullptr);
  }).join();
  EXPECT_EQ(threads, 2u * 3 * 5 * 7 * 11 * 13 + 4 * 32);
  EXPECT_EQ(calls.all(),
            (std::vector<std::string>{"load CUBIN sm_90 f", "load CUBIN sm_86 g", "launch g on 1 shared 17 stream 19",
                                      "launch f on 0 shared 0 stream 0"}));
}

TEST(CudaDriver, SaysWhichStreamIsCaptured) {
  const auto driver = open_stub();
  const auto function = driver.load(0, {.code = "CUBIN sm_90 f", .symbol = "f"});
  std::thread([&] {
    EXPECT_TRUE(driver.is_capturing(function, reinterpret_cast<void*>(7)));
    EXPECT_FALSE(driver.is_capturing(function, nullptr));
  }).join();
}

TEST(CudaDriver, AllocatesZeros) {
  const auto driver = open_stub();
  const auto function = driver.load(0, {.code = "CUBIN sm_90 f", .symbol = "f"});
  std::thread([&] {
    const auto* memory = static_cast<const unsigned char*>(driver.allocate(function, 100, nullptr));
    EXPECT_EQ(std::vector<unsigned char>(memory, memory + 100), std::vector<unsigned char>(100));
    ::operator delete(const_cast<unsigned char*>(memory));
  }).join();
}

TEST(CudaDriver, ReportsWhatIsRefused) {
  const auto driver = open_stub();
  EXPECT_EQ(message([&] { (void)driver.load(0, {.code = "CUBIN sm_86 f", .symbol = "f"}); }),
            "cuModuleLoadData: CUDA_ERROR_NO_BINARY_FOR_GPU");
  // An error that the driver has no name for.
  EXPECT_EQ(message([&] { (void)driver.load(0, {.code = "CUBIN sm_90 f", .symbol = "g"}); }),
            "cuModuleGetFunction: 500");
}

}  // namespace
}  // namespace anact::gpu
