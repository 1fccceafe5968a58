#include "gpu/nvrtc.h"

#include "stubs.h"
#include "support/message.h"

namespace anact::gpu {
namespace {

using test::Calls;
using test::has;
using test::run_child;
using test::stub;
using test::TemporaryFolder;
using test::Variable;

const Program kProgram{.main = {.name = "kernel.cu", .text = "source"},
                       .headers = {{.name = "header.h", .text = "text"}},
                       .options = {"--std=c++20", "-lineinfo"}};

TEST(Nvrtc, CompilesForTheArchitecture) {
  const Nvrtc nvrtc(stub("nvrtc/libnvrtc.so.13").string());
  EXPECT_EQ(nvrtc.version(), "NVRTC 13.0");
  EXPECT_EQ(nvrtc.major_version(), 13);
  EXPECT_EQ(nvrtc.path(), stub("nvrtc/libnvrtc.so.13").string());
  EXPECT_EQ(nvrtc.missing_builtins(), "");
  const Calls calls;
  const auto binary = nvrtc.compile(kProgram, "f<float>", "sm_90");
  EXPECT_STREQ(binary.code.c_str(), "CUBIN sm_90 lowered(f<float>)");
  EXPECT_EQ(binary.symbol, "lowered(f<float>)");
  EXPECT_EQ(calls.all(), (std::vector<std::string>{"compile f<float> --gpu-architecture=sm_90 --std=c++20 -lineinfo",
                                                   "done f<float>"}));
}

TEST(Nvrtc, MakesPtxForAnArchitectureThatItDoesNotKnow) {
  const Nvrtc nvrtc(stub("nvrtc/libnvrtc.so.13").string());
  EXPECT_STREQ(nvrtc.compile(kProgram, "f", "sm_103").code.c_str(), "PTX compute_100 lowered(f)");
  EXPECT_STREQ(nvrtc.compile(kProgram, "f", "sm_89").code.c_str(), "PTX compute_86 lowered(f)");
  EXPECT_STREQ(nvrtc.compile(kProgram, "f", "sm_121").code.c_str(), "PTX compute_120 lowered(f)");
  EXPECT_EQ(message([&] { (void)nvrtc.compile(kProgram, "f", "sm_70"); }),
            "NVRTC 13.0 ('" + nvrtc.path() + "') does not compile for sm_70; its oldest is sm_75");
  for (const char* other : {"gfx942", "sm_", "sm_9x", ""}) {
    EXPECT_EQ(message([&] { (void)nvrtc.compile(kProgram, "f", other); }),
              "'" + std::string(other) + "' is no architecture of CUDA; expected one such as sm_90");
  }
}

TEST(Nvrtc, ReportsTheLogOfAFailure) {
  const Nvrtc nvrtc(stub("nvrtc/libnvrtc.so.13").string());
  auto program = kProgram;
  program.headers[0].text = "#error this cannot be\n";
  EXPECT_EQ(message([&] { (void)nvrtc.compile(program, "f", "sm_80"); }),
            "NVRTC 13.0 ('" + nvrtc.path() +
                "') cannot compile 'f' for sm_80: NVRTC_ERROR_COMPILATION\n"
                "kernel.cu(1): error: this cannot be");
}

TEST(Nvrtc, NamesTheBuiltinsThatAreMissing) {
  const Variable version("ANACT_STUB_VERSION", "13.7");
  const Nvrtc nvrtc(stub("nvrtc/libnvrtc.so.13").string());
  EXPECT_EQ(nvrtc.missing_builtins(), "libnvrtc-builtins.so.13.7");
  EXPECT_EQ(message([&] { (void)nvrtc.compile(kProgram, "f", "sm_80"); }),
            "NVRTC 13.7 ('" + nvrtc.path() +
                "') cannot compile 'f' for sm_80: NVRTC_ERROR_BUILTIN_OPERATION_FAILURE; libnvrtc-builtins.so.13.7 is "
                "neither beside it nor on the system's library path\n"
                "nvrtc: error: failed to open libnvrtc-builtins.so.13.7.");
}

TEST(Nvrtc, NamesWhatALibraryLacks) {
  const auto in_part = stub("in_part/libnvrtc.so.13").string();
  EXPECT_EQ(message([&] { const Nvrtc nvrtc(in_part); }), "'" + in_part + "' has no function nvrtcGetCUBINSize");
  const TemporaryFolder folder;
  const auto file = folder.write("libnvrtc.so.13", "no library").string();
  EXPECT_TRUE(has(message([&] { const Nvrtc nvrtc(file); }), file)) << message([&] { const Nvrtc nvrtc(file); });
}

TEST(Nvrtc, KnowsItsFilesByTheirNames) {
  for (const char* name : {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12.6.77", "libnvrtc-0a1b2c3d.so.12"}) {
    EXPECT_TRUE(is_nvrtc_name(name)) << name;
  }
  for (const char* name : {"", "libnvrtc", "libnvrtc-builtins.so.13.0", "libnvrtc.alt.so.13", "libnvrtc_static.a",
                           "libnvrtc-.so", "libnvrtc-12", "nvrtc.h", "libcaffe2_nvrtc.so"}) {
    EXPECT_FALSE(is_nvrtc_name(name)) << name;
  }
}

// Where it is looked for. Folders as pip lays them out.
class NvrtcSearchTest : public testing::Test {
 protected:
  void put(const std::string& folder, const std::string& name = "libnvrtc.so.13",
           const std::string& from = "nvrtc/libnvrtc.so.13") const {
    std::filesystem::create_directories(packages_ / folder);
    std::filesystem::copy_file(stub(from), packages_ / folder / name);
    if (from.starts_with("nvrtc/")) {
      std::filesystem::copy_file(stub("nvrtc/libnvrtc-builtins.so.13.0"),
                                 packages_ / folder / "libnvrtc-builtins.so.13.0");
    }
  }

  // The row of gpu::describe.
  [[nodiscard]] std::string found(std::map<std::string, std::string> environment = {}) const {
    const auto result = run_child({"describe", (packages_ / "torch" / "lib").string()}, environment);
    for (const auto& line : test::lines_of(result.out)) {
      if (line.starts_with("gpu_compiler\t")) return line.substr(13);
    }
    return "no row: " + result.out;
  }
  [[nodiscard]] std::string expected(const std::string& path) const {
    return "NVRTC 13.0, " + (packages_ / path).string();
  }

  TemporaryFolder packages_;
};

TEST_F(NvrtcSearchTest, TheWheelsOfCuda13) {
  put("nvidia/cu13/lib");
  put("nvidia/cu13/lib/no", "libnvrtc.alt.so.13");
  EXPECT_EQ(found(), expected("nvidia/cu13/lib/libnvrtc.so.13"));
}

TEST_F(NvrtcSearchTest, TheWheelOfCuda12) {
  put("nvidia/cuda_nvrtc/lib", "libnvrtc.so.12");
  EXPECT_EQ(found(), expected("nvidia/cuda_nvrtc/lib/libnvrtc.so.12"));
}

TEST_F(NvrtcSearchTest, TheNewestOfTwoWheels) {
  put("nvidia/cu13/lib");
  put("nvidia/cuda_nvrtc/lib", "libnvrtc.so.12");
  EXPECT_EQ(found(), expected("nvidia/cu13/lib/libnvrtc.so.13"));
  put("nvidia/cuda_of_later/lib", "libnvrtc.so.14");
  EXPECT_EQ(found(), expected("nvidia/cuda_of_later/lib/libnvrtc.so.14"));
}

TEST_F(NvrtcSearchTest, LibtorchsOwnFolder) {
  put("torch/lib", "libnvrtc-0a1b2c3d.so.13");
  EXPECT_EQ(found(), expected("torch/lib/libnvrtc-0a1b2c3d.so.13"));
}

TEST_F(NvrtcSearchTest, TheLibraryPathThenTheToolkit) {
  put("toolkit/lib64");
  put("path", "libnvrtc.so.12");
  EXPECT_EQ(found({{"CUDA_HOME", (packages_ / "toolkit").string()}}), expected("toolkit/lib64/libnvrtc.so.13"));
  EXPECT_EQ(found({{"CUDA_PATH", (packages_ / "toolkit").string()}}), expected("toolkit/lib64/libnvrtc.so.13"));
  EXPECT_EQ(
      found({{"CUDA_HOME", (packages_ / "toolkit").string()}, {"LD_LIBRARY_PATH", (packages_ / "path").string()}}),
      expected("path/libnvrtc.so.12"));
}

TEST_F(NvrtcSearchTest, WhatTheProcessHasLoaded) {
  put("nvidia/cu13/lib");
  put("else/where");
  const auto loaded = (packages_ / "else/where/libnvrtc.so.13").string();
  EXPECT_EQ(found({{"ANACT_OPEN_FIRST", loaded}}), "NVRTC 13.0, " + loaded);
}

TEST_F(NvrtcSearchTest, GoesOnWhereOneIsUnusable) {
  put("nvidia/cu13/lib", "libnvrtc.so.13", "in_part/libnvrtc.so.13");
  put("toolkit/lib64");
  EXPECT_EQ(found({{"CUDA_HOME", (packages_ / "toolkit").string()}}), expected("toolkit/lib64/libnvrtc.so.13"));
}

TEST_F(NvrtcSearchTest, TakesOneWithoutBuiltinsOnlyWhereThereIsNoOther) {
  put("nvidia/cu13/lib");
  std::filesystem::remove(packages_ / "nvidia/cu13/lib/libnvrtc-builtins.so.13.0");
  EXPECT_EQ(found(), expected("nvidia/cu13/lib/libnvrtc.so.13") + ", unusable without libnvrtc-builtins.so.13.0");
  put("toolkit/lib64");
  EXPECT_EQ(found({{"CUDA_HOME", (packages_ / "toolkit").string()}}), expected("toolkit/lib64/libnvrtc.so.13"));
}

TEST_F(NvrtcSearchTest, TakesNoneThatTheDriverIsTooOldFor) {
  put("nvidia/cu13/lib");
  const auto old = found({{"LD_LIBRARY_PATH", stub("driver").string()}, {"ANACT_STUB_DRIVER", "12040"}});
  EXPECT_TRUE(old.starts_with("none: libnvrtc.so.12 (NVRTC, CUDA's compiler) was not found; looked in ")) << old;
  EXPECT_TRUE(has(old, "; '" + (packages_ / "nvidia/cu13/lib/libnvrtc.so.13").string() +
                           "' is NVRTC 13.0, too new for a driver of CUDA 12"))
      << old;
}

TEST_F(NvrtcSearchTest, SaysWhereItLooked) {
  put("nvidia/cu13/lib", "libnvrtc.so.13", "in_part/libnvrtc.so.13");
  const auto text = found({{"CUDA_HOME", "/no/toolkit"}});
  EXPECT_TRUE(
      text.starts_with("none: libnvrtc.so.13 or libnvrtc.so.12 (NVRTC, CUDA's compiler) was not found; looked in "))
      << text;
  for (const auto& part :
       {"'" + (packages_ / "nvidia/cu13/lib").string() + "'", "'" + (packages_ / "torch/lib").string() + "'",
        std::string("the system's library path"), std::string("'/no/toolkit/lib64'"),
        std::string("'/usr/local/cuda/lib64'"),
        "; '" + (packages_ / "nvidia/cu13/lib/libnvrtc.so.13").string() + "' has no function nvrtcGetCUBINSize"}) {
    EXPECT_TRUE(has(text, part)) << part << " in " << text;
  }
}

// With NVIDIA's own: in the packages folder that ANACT_TEST_NVRTC names, else beside the PyTorch of the build.
class RealNvrtcTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* named = std::getenv("ANACT_TEST_NVRTC");
    torch_folder_ = named != nullptr ? (std::filesystem::path(named) / "torch" / "lib").string() : ANACT_TORCH_FOLDER;
    header_ = folder_.write("header.h", "template <class T> __device__ T twice(T x) { return x + x; }\n").string();
    source_ = folder_
                  .write("kernel.cu",
                         "#include \"header.h\"\n"
                         "template <class T> __global__ void scale(T* y, const T* x, unsigned long long size) {\n"
                         "  const unsigned long long i = blockIdx.x * 1ULL * blockDim.x + threadIdx.x;\n"
                         "  if (i < size) y[i] = twice(x[i]);\n"
                         "}\n")
                  .string();
    const auto result = compile("sm_90");
    if (has(result.out, "was not found; looked in")) GTEST_SKIP() << "there is no NVRTC: " << result.out;
  }

  [[nodiscard]] test::ChildResult compile(const std::string& architecture,
                                          const std::string& expression = "scale<float>") const {
    return run_child({"compile", torch_folder_, architecture, source_, header_, expression});
  }

  TemporaryFolder folder_;
  std::string torch_folder_, header_, source_;
};

TEST_F(RealNvrtcTest, CompilesForEveryArchitectureWithoutAGpu) {
  for (const char* architecture : {"sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"}) {
    const auto result = compile(architecture);
    const auto lines = test::lines_of(result.out);
    ASSERT_EQ(lines.size(), 3u) << result.out;
    EXPECT_TRUE(lines[0].starts_with("NVRTC ")) << lines[0];
    // CUDA 12.8 was the first with Blackwell's.
    const bool old = lines[0] < "NVRTC 12.8" && std::string_view(architecture).size() > 5;
    EXPECT_EQ(lines[1], old ? ".target sm_90" : "cubin") << architecture;
    EXPECT_EQ(lines[2], "has _Z5scaleIfEvPT_PKS0_y") << architecture;
  }
}

TEST_F(RealNvrtcTest, MakesPtxForAnArchitectureOfTheFuture) {
  const auto lines = test::lines_of(compile("sm_999").out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[1].starts_with(".target sm_")) << lines[1];
}

TEST_F(RealNvrtcTest, ReportsTheLogOfAFailure) {
  const auto result = compile("sm_80", "scale<nothing>");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(result.out, "cannot compile 'scale<nothing>' for sm_80: NVRTC_ERROR_")) << result.out;
  EXPECT_TRUE(has(result.out, "error")) << result.out;
  EXPECT_TRUE(has(result.out, "nothing\" is undefined")) << result.out;
}

}  // namespace
}  // namespace anact::gpu
