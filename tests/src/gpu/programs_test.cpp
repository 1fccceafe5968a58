#include "gpu/programs.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gpu/driver.h"
#include "gpu/gpu.h"
#include "gpu/nvrtc.h"
#include "stubs.h"
#include "support/message.h"

namespace anact::gpu {
namespace {

using test::Calls;
using test::Child;
using test::content_of;
using test::has;
using test::names_in;
using test::run_child;
using test::stub;
using test::TemporaryFolder;
using test::Variable;

Backend open_stubs() {
  return {.driver = std::make_unique<CudaDriver>(stub("driver/libcuda.so.1").string()),
          .compiler = std::make_unique<Nvrtc>(stub("nvrtc/libnvrtc.so.13").string())};
}

Program program_of(const std::string& text) {
  return {
      .main = {.name = "kernel.cu", .text = text}, .headers = {{.name = "header.h", .text = "header"}}, .options = {}};
}

class ProgramsTest : public testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<Programs> make(Program program = program_of("source"),
                                               Programs::Open open = open_stubs) {
    return std::make_unique<Programs>(std::move(program), Cache(folder_ / "cache"), std::move(open),
                                      [this](const std::string& failure) { reports_.push_back(failure); });
  }

  TemporaryFolder folder_;
  Calls calls_;
  std::vector<std::string> reports_;
};

TEST_F(ProgramsTest, CompilesOnceAndKeepsTheFunction) {
  const auto programs = make();
  const auto* function = programs->get(0, "f");
  ASSERT_NE(function, nullptr);
  EXPECT_EQ(programs->get(0, "f"), function);
  EXPECT_NE(programs->get(0, "g"), function);
  EXPECT_EQ(calls_.count("compile "), 2u);
  EXPECT_EQ(calls_.count("load "), 2u);
  EXPECT_EQ(function->device().architecture, "sm_90");
  std::uint64_t threads = 0;
  std::uint64_t* counter = &threads;
  void* arguments[] = {&counter};
  function->launch({.grid = {.x = 3}, .block = {.x = 5}}, nullptr, arguments);
  EXPECT_EQ(threads, 15u);
  EXPECT_TRUE(reports_.empty());
}

TEST_F(ProgramsTest, NamesTheFunctionThatCannotBeLaunched) {
  const auto programs = make();
  const auto* function = programs->get(0, "f<float>");
  ASSERT_NE(function, nullptr);
  const Variable error("ANACT_STUB_LAUNCH_ERROR", "700");
  EXPECT_EQ(message([&] { function->launch({}, nullptr, nullptr); }),
            "'f<float>' could not be launched on Stub: cuLaunchKernel: 700");
}

TEST_F(ProgramsTest, TakesFromTheDiskWhatWasCompiledBefore) {
  ASSERT_NE(make()->get(0, "f"), nullptr);
  ASSERT_NE(make()->get(0, "f"), nullptr);
  EXPECT_EQ(calls_.count("compile "), 1u);
  EXPECT_EQ(calls_.count("load "), 2u);
}

TEST_F(ProgramsTest, CompilesAnewWhenAnythingIsDifferent) {
  ASSERT_NE(make()->get(0, "f"), nullptr);
  std::size_t compilations = 1;
  const auto differs = [&](Program program, const char* expression = "f", int device = 0) {
    EXPECT_NE(make(std::move(program))->get(device, expression), nullptr);
    EXPECT_EQ(calls_.count("compile "), ++compilations);
  };
  differs(program_of("another"));
  differs(program_of("source"), "g");
  auto program = program_of("source");
  program.headers[0].text += "x";
  differs(program);
  program = program_of("source");
  program.headers.push_back({.name = "more.h", .text = ""});
  differs(program);
  program = program_of("source");
  program.options = {"-a", "-b"};
  differs(program);
  program.options = {"-a", "-c"};
  differs(program);
  program.options = {"-a -b"};
  differs(program);
  {
    const Variable devices("ANACT_STUB_DEVICES", "9.0 8.0");
    differs(program_of("source"), "f", 1);
    // Each device has an entry of its own.
    for (const int device : {0, 1}) EXPECT_NE(make()->get(device, "f"), nullptr);
    EXPECT_EQ(calls_.count("compile "), compilations);
  }
  // Another NVRTC compiles anew, here in vain: it has no builtins.
  const Variable version("ANACT_STUB_VERSION", "13.1");
  EXPECT_EQ(make()->get(0, "f"), nullptr);
  EXPECT_EQ(calls_.count("compile "), ++compilations);
}

TEST_F(ProgramsTest, CompilesADamagedEntryAnew) {
  ASSERT_NE(make()->get(0, "f"), nullptr);
  const auto path = folder_ / "cache" / *names_in(folder_ / "cache").begin();
  const auto whole = content_of(path);
  std::size_t compilations = 1;
  for (const auto& content : {std::string(), whole.substr(0, whole.size() / 2), whole + "x"}) {
    std::ofstream(path, std::ios::binary) << content;
    ASSERT_NE(make()->get(0, "f"), nullptr);
    EXPECT_EQ(calls_.count("compile "), ++compilations);
    EXPECT_EQ(content_of(path), whole);
  }
}

TEST_F(ProgramsTest, CompilesAnewWhatTheDriverDoesNotTake) {
  // A compiler whose code the driver took once and no longer does, as after a change of drivers.
  struct Old : Compiler {
    Nvrtc nvrtc{stub("nvrtc/libnvrtc.so.13").string()};
    [[nodiscard]] std::string version() const override { return nvrtc.version(); }
    [[nodiscard]] Binary compile(const Program&, const std::string&, const std::string&) const override {
      return {.code = "CUBIN sm_80 lowered(f)", .symbol = "lowered(f)"};
    }
  };
  {
    const Variable devices("ANACT_STUB_DEVICES", "8.0");
    struct Driver90 : Driver {
      std::vector<Device> list{{.name = "Stub", .architecture = "sm_90", .multiprocessors = 1}};
      CudaDriver driver{stub("driver/libcuda.so.1").string()};
      [[nodiscard]] const std::vector<Device>& devices() const override { return list; }
      [[nodiscard]] LoadedFunction load(int device, const Binary& binary) const override {
        return driver.load(device, binary);
      }
      void launch(const LoadedFunction&, const LaunchSize&, void*, void**) const override {}
      [[nodiscard]] void* allocate(const LoadedFunction&, std::size_t, void*) const override { return nullptr; }
      [[nodiscard]] bool is_capturing(const LoadedFunction&, void*) const override { return false; }
    };
    ASSERT_NE(make(program_of("source"),
                   [] { return Backend{.driver = std::make_unique<Driver90>(), .compiler = std::make_unique<Old>()}; })
                  ->get(0, "f"),
              nullptr);
  }
  const auto before = content_of(folder_ / "cache" / *names_in(folder_ / "cache").begin());
  ASSERT_NE(make()->get(0, "f"), nullptr);
  EXPECT_EQ(calls_.count("compile "), 1u);
  EXPECT_NE(content_of(folder_ / "cache" / *names_in(folder_ / "cache").begin()), before);
  EXPECT_TRUE(reports_.empty());
}

TEST_F(ProgramsTest, ReportsEachFailureOnce) {
  const auto programs = make(program_of("#error no\n"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(programs->get(0, "f"), nullptr);
  EXPECT_EQ(calls_.count("compile "), 1u);
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_TRUE(has(reports_[0], "cannot compile 'f' for sm_90: NVRTC_ERROR_COMPILATION\nkernel.cu(1): error: no"))
      << reports_[0];
  EXPECT_EQ(programs->get(7, "f"), nullptr);
  EXPECT_EQ(programs->get(-1, "f"), nullptr);
  ASSERT_EQ(reports_.size(), 3u);
  EXPECT_EQ(reports_[1], "there is no GPU 7; the driver has 1");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "cache"));
}

TEST_F(ProgramsTest, ReportsOnceForAllFunctionsWhatTheyAllLack) {
  int opened = 0;
  const auto programs = make(program_of("source"), [&]() -> Backend {
    ++opened;
    throw Error("libnvrtc.so.13 was not found");
  });
  for (const char* expression : {"f", "g", "f"}) EXPECT_EQ(programs->get(0, expression), nullptr);
  EXPECT_EQ(opened, 1);
  EXPECT_EQ(reports_, std::vector<std::string>{"libnvrtc.so.13 was not found"});
}

TEST_F(ProgramsTest, NothingIsLockedDuringAReport) {
  std::unique_ptr<Programs> programs;
  std::vector<std::string> reports;
  programs =
      std::make_unique<Programs>(program_of("#error no\n"), Cache({}), open_stubs, [&](const std::string& failure) {
        reports.push_back(failure);
        std::thread([&] { EXPECT_EQ(programs->get(0, "f"), nullptr); }).join();
      });
  EXPECT_EQ(programs->get(0, "f"), nullptr);
  EXPECT_EQ(reports.size(), 1u);
}

TEST_F(ProgramsTest, EightThreadsCompileOneFunctionOnce) {
  const Variable sleep("ANACT_STUB_SLEEP", "50");
  const auto programs = make();
  std::vector<const Function*> functions(8);
  std::vector<std::thread> threads;
  for (auto& function : functions) threads.emplace_back([&] { function = programs->get(0, "f"); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(calls_.count("compile "), 1u);
  for (const auto* function : functions) {
    EXPECT_NE(function, nullptr);
    EXPECT_EQ(function, functions[0]);
  }
}

TEST_F(ProgramsTest, DifferentFunctionsAreCompiledAtATime) {
  const Variable sleep("ANACT_STUB_SLEEP", "200");
  const auto programs = make();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { EXPECT_NE(programs->get(0, "f" + std::to_string(i)), nullptr); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(calls_.count("compile "), 8u);
  const auto lines = calls_.all();
  const auto done =
      std::find_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with("done "); });
  EXPECT_GT(done - lines.begin(), 1);
}

// Processes of their own, with the stubs where pip and the system would have the libraries.
class ProcessesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(packages_ / "nvidia/cu13");
    std::filesystem::create_directory_symlink(stub("nvrtc"), packages_ / "nvidia/cu13/lib");
  }

  [[nodiscard]] std::map<std::string, std::string> environment(std::map<std::string, std::string> more = {}) const {
    more.emplace("LD_LIBRARY_PATH", stub("driver").string());
    more.emplace("ANACT_CACHE", packages_.path().string());
    return more;
  }
  [[nodiscard]] std::string torch_folder() const { return (packages_ / "torch" / "lib").string(); }

  TemporaryFolder packages_;
  Calls calls_;
};

TEST_F(ProcessesTest, TheSecondCompilesNothing) {
  EXPECT_EQ(run_child({"get", torch_folder(), "f", "g"}, environment()).out, "function\nfunction\n");
  EXPECT_EQ(calls_.count("compile "), 2u);
  EXPECT_EQ(run_child({"get", torch_folder(), "f", "g"}, environment()).out, "function\nfunction\n");
  EXPECT_EQ(calls_.count("compile "), 2u);
}

TEST_F(ProcessesTest, TwoAtOnceDoNotDisturbEachOther) {
  const auto slow = environment({{"ANACT_STUB_SLEEP", "100"}});
  Child first({"get", torch_folder(), "f"}, slow), second({"get", torch_folder(), "f"}, slow);
  EXPECT_EQ(first.wait().out, "function\n");
  EXPECT_EQ(second.wait().out, "function\n");
  EXPECT_EQ(names_in(packages_ / "cuda").size(), 1u);
  const auto compilations = calls_.count("compile ");
  EXPECT_EQ(run_child({"get", torch_folder(), "f"}, environment()).out, "function\n");
  EXPECT_EQ(calls_.count("compile "), compilations);
}

TEST_F(ProcessesTest, OneThatIsKilledLeavesNoEntryAndItsRemainsGo) {
  const auto killed = run_child({"get", torch_folder(), "f"}, environment({{"ANACT_KILL_AT_RENAME", "1"}}));
  EXPECT_EQ(killed.signal, SIGKILL);
  auto names = names_in(packages_ / "cuda");
  ASSERT_EQ(names.size(), 1u);
  EXPECT_TRUE(names.begin()->ends_with(".tmp")) << *names.begin();
  std::filesystem::last_write_time(packages_ / "cuda" / *names.begin(),
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(run_child({"get", torch_folder(), "f"}, environment()).out, "function\n");
  EXPECT_EQ(calls_.count("compile "), 2u);
  names = names_in(packages_ / "cuda");
  ASSERT_EQ(names.size(), 1u);
  EXPECT_TRUE(names.begin()->ends_with(".kernel")) << *names.begin();
}

TEST_F(ProcessesTest, WithoutADriverOrNvrtc) {
  auto result =
      run_child({"get", torch_folder(), "f", "g"}, environment({{"LD_LIBRARY_PATH", stub("in_part").string()}}));
  EXPECT_EQ(test::lines_of(result.out).size(), 1u) << result.out;
  EXPECT_TRUE(result.out.starts_with("no NVIDIA GPU can be used: ")) << result.out;
  result = run_child({"get", "/no/torch/lib", "f", "g"}, environment());
  EXPECT_EQ(test::lines_of(result.out).size(), 1u) << result.out;
  EXPECT_TRUE(result.out.starts_with(
      "libnvrtc.so.13 (NVRTC, CUDA's compiler) was not found; looked in '/no/nvidia', '/no/torch/lib', "))
      << result.out;
}

TEST_F(ProcessesTest, DescribeWhatThereIs) {
  const auto rows =
      test::lines_of(run_child({"describe", torch_folder()},
                               environment({{"ANACT_STUB_DEVICES", "9.0 8.6 9.0"}, {"ANACT_CUDA", "off"}}))
                         .out);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0], "gpu\t2 × Stub (sm_90, 4 multiprocessors); Stub (sm_86, 4 multiprocessors)");
  EXPECT_EQ(rows[1], "gpu_driver\tCUDA 13.0, " + stub("driver/libcuda.so.1").string());
  EXPECT_EQ(rows[2], "gpu_compiler\tNVRTC 13.0, " + (packages_ / "nvidia/cu13/lib/libnvrtc.so.13").string());
  EXPECT_EQ(rows[3], "gpu_cache\t" + (packages_ / "cuda").string() + ", 0 kernels, 0 bytes");
  EXPECT_EQ(rows[4], "gpu_kernels\toff, by ANACT_CUDA");
  (void)run_child({"get", torch_folder(), "f"}, environment());
  const auto after = test::lines_of(run_child({"describe", torch_folder()}, environment({{"ANACT_CUDA", "OFF"}})).out);
  ASSERT_EQ(after.size(), 5u);
  const auto bytes = std::filesystem::file_size(packages_ / "cuda" / *names_in(packages_ / "cuda").begin());
  EXPECT_EQ(after[3],
            "gpu_cache\t" + (packages_ / "cuda").string() + ", 1 kernel, " + std::to_string(bytes) + " bytes");
  EXPECT_EQ(after[4], "gpu_kernels\ton; ANACT_CUDA is 'OFF', not 'off'");
}

TEST_F(ProcessesTest, DescribeWhatIsMissing) {
  const auto rows = test::lines_of(
      run_child(
          {"describe", "/no/torch/lib"},
          {{"ANACT_CACHE", ""}, {"XDG_CACHE_HOME", ""}, {"HOME", ""}, {"LD_LIBRARY_PATH", stub("in_part").string()}})
          .out);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_TRUE(rows[0].starts_with("gpu\tnone: no NVIDIA GPU can be used: ")) << rows[0];
  EXPECT_TRUE(rows[1].starts_with("gpu_compiler\tnone: libnvrtc.so.13 or libnvrtc.so.12 ")) << rows[1];
  EXPECT_EQ(rows[2], "gpu_cache\tnone: none of ANACT_CACHE, XDG_CACHE_HOME and HOME is set");
}

TEST(Enabled, UnlessTheEnvironmentSaysOff) {
  EXPECT_TRUE(enabled());
  for (const char* value : {"on", "", "OFF"}) {
    const Variable setting("ANACT_CUDA", value);
    EXPECT_TRUE(enabled()) << value;
  }
  const Variable setting("ANACT_CUDA", "off");
  EXPECT_FALSE(enabled());
}

}  // namespace
}  // namespace anact::gpu
