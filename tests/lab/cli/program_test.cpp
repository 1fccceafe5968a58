// The program as a whole, `anact gains` and `anact info`.

#include "cli/program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

namespace anact::cli {
namespace {

using namespace test;

TEST(Program, HelpAndVersion) {
  for (const char* flag : {"--help", "-h"}) {
    const auto result = run({flag});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.error, "");
    for (const char* command : {"compare", "gains", "bench", "report", "info"}) EXPECT_TRUE(has(result.out, command));
  }
  for (const char* command : {"compare", "gains", "bench", "report", "info"}) {
    const auto result = run({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(has(result.out, std::string("anact ") + command)) << result.out;
  }
  const auto version = run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_TRUE(std::regex_match(version.out, std::regex("anact \\d+\\.\\d+\\.\\d+\n"))) << version.out;
}

TEST(Program, WhatCannotBeParsed) {
  const auto message = refusal({});
  for (const char* part : {"expected a command: ", "compare", "gains", "report", "info"}) {
    EXPECT_TRUE(has(message, part)) << message;
  }
  EXPECT_TRUE(has(refusal({"gians"}), "unknown command 'gians'; did you mean gains"));
  EXPECT_TRUE(has(refusal({"frobnicate"}), "unknown command 'frobnicate'; there are train, compare"));
  EXPECT_TRUE(has(refusal({"--frobnicate"}), "--frobnicate"));
  EXPECT_TRUE(has(refusal({"info", "--frobnicate"}), "--frobnicate"));
  EXPECT_TRUE(has(refusal({"info", "more"}), "more"));
  EXPECT_NE(refusal({""}), "");
  EXPECT_NE(refusal({"two\nlines"}), "");
  EXPECT_NE(refusal({"info", "two\nlines"}), "");
}

TEST(Program, AnOutputThatCannotBeWrittenIsAFailure) {
  for (const std::string stream : {"/dev/full", kClosed}) {
    Setting setting;
    setting.out = stream;
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                      {"--version"},
                                                      {"compare", "--help"},
                                                      {"info"},
                                                      {"info", "--json"},
                                                      {"gains"},
                                                      {"gains", "--format", "csv"},
                                                      {"gains", "--format", "json"}}) {
      const auto result = run(arguments, setting);
      EXPECT_EQ(result.exit_code, 1) << stream << " " << arguments.back();
      EXPECT_EQ(result.error, "anact: cannot write to standard output\n") << stream << " " << arguments.back();
    }
  }
}

TEST(Gains, Csv) {
  const auto result = run({"gains", "--format", "csv"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 23u);
  EXPECT_EQ(lines[0], "activation,mean,square,forward_gain,backward_gain,factor");
  std::map<std::string, std::string> rows;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const auto fields = fields_of(lines[i]);
    ASSERT_EQ(fields.size(), 6u) << lines[i];
    rows[fields[0]] = lines[i];
  }
  // 1 / sqrt(2 pi), 1/2, 1/2, 1/2, sqrt(2).
  EXPECT_EQ(rows["relu"], "relu,0.398942280401,0.5,0.5,0.5,1.41421356237");
  // What leaves everything as it is; the quadrature of its mean leaves a rounding error.
  EXPECT_TRUE(rows["identity"].ends_with(",1,1,1,1")) << rows["identity"];
  EXPECT_NEAR(std::stod(fields_of(rows["identity"])[1]), 0, 1e-15);
  for (const char* name :
       {"relu6",     "leaky_relu",  "elu",      "selu",       "celu",       "gelu",    "gelu(approximate=tanh)",
        "silu",      "mish",        "softplus", "softsign",   "tanh",       "sigmoid", "logsigmoid",
        "hardswish", "hardsigmoid", "hardtanh", "tanhshrink", "softshrink", "relu2"}) {
    EXPECT_TRUE(rows.contains(name)) << name;
  }
}

TEST(Gains, JsonHoldsTheSameNumbersInFull) {
  const auto csv = lines_of(run({"gains", "--format", "csv", "--mean", "0.5", "--std", "2"}).out);
  const auto rows = nlohmann::json::parse(run({"gains", "--format", "json", "--mean", "0.5", "--std", "2"}).out);
  ASSERT_EQ(rows.size(), 22u);
  ASSERT_EQ(csv.size(), 23u);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto fields = fields_of(csv[i + 1]);
    EXPECT_EQ(rows[i].at("activation"), fields[0]);
    std::size_t column = 1;
    for (const char* name : {"mean", "square", "forward_gain", "backward_gain", "factor"}) {
      char text[40];
      std::snprintf(text, sizeof text, "%.12g", rows[i].at(name).get<double>());
      EXPECT_EQ(fields[column++], text) << fields[0] << " " << name;
    }
    EXPECT_EQ(rows[i].at("factors").at("exact"), rows[i].at("factor"));
    EXPECT_EQ(rows[i].at("factors").size(), 5u);
  }
}

TEST(Gains, FollowTheInput) {
  // ReLU of N(0, 2^2) is 2 ReLU of N(0, 1).
  const auto lines = lines_of(run({"gains", "relu", "--std", "2", "--target", "input", "--format", "csv"}).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "relu,0.797884560803,2,0.5,0.5,1.41421356237");
  // By default lambda^2 = 4^(3/4) / (4 rho').
  const auto damped = lines_of(run({"gains", "relu", "--std", "2", "--format", "csv"}).out);
  ASSERT_EQ(damped.size(), 2u);
  EXPECT_EQ(damped[1], "relu,0.797884560803,2,0.5,0.5,1.189207115");
  // With the target `unit`, s = 2 takes the place of rho and v rho' = 2 of rho'.
  const auto unit = lines_of(run({"gains", "relu", "--std", "2", "--target", "unit", "--format", "csv"}).out);
  ASSERT_EQ(unit.size(), 2u);
  EXPECT_EQ(unit[1], "relu,0.797884560803,2,0.5,0.5,0.707106781187");
  EXPECT_EQ(lines_of(run({"gains", "swish", "elu(alpha=0.5)", "--format", "csv"}).out).size(), 3u);
}

TEST(Gains, Table) {
  const auto result = run({"gains"});
  EXPECT_EQ(result.exit_code, 0);
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 25u);
  for (const char* name : {"activation", "forward_gain", "compromise", "forward", "backward", "geometric", "exact"}) {
    EXPECT_TRUE(has(lines[2], name)) << lines[2];
  }
  EXPECT_TRUE(std::regex_match(lines[3], std::regex("relu +0.398942 +0.5 +0.5 +0.5( +1.41421){5}"))) << lines[3];
}

TEST(Gains, WhatCannotBeComputed) {
  EXPECT_TRUE(has(refusal({"gains", "sillu"}), "did you mean silu"));
  EXPECT_TRUE(has(refusal({"gains", "elu(alhpa=1)"}), "alpha"));
  EXPECT_TRUE(has(refusal({"gains", "--std", "0"}), "must be positive and finite"));
  EXPECT_TRUE(has(refusal({"gains", "--std", "-1"}), "must be positive and finite"));
  EXPECT_TRUE(has(refusal({"gains", "--std", "nan"}), "must be positive and finite"));
  EXPECT_NE(refusal({"gains", "--mean", "nan"}), "");
  EXPECT_TRUE(has(refusal({"gains", "relu", "--std", "1e200"}), "too large for double precision"));
  EXPECT_TRUE(has(refusal({"gains", "--format", "xml"}), "xml"));
  EXPECT_TRUE(has(refusal({"gains", "--target", "two"}), "two"));
}

TEST(Info, EveryLine) {
  Setting setting;
  setting.environment["OMP_NUM_THREADS"] = "1";
  const auto result = run({"info"}, setting);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  std::map<std::string, std::string> values;
  for (const auto& line : lines_of(result.out)) {
    const auto end = line.find(' ');
    ASSERT_NE(end, std::string::npos) << line;
    const auto begin = line.find_first_not_of(' ', end);
    values[line.substr(0, end)] = begin == std::string::npos ? "" : line.substr(begin);
  }
  const auto json = nlohmann::json::parse(run({"info", "--json"}, setting).out);
  EXPECT_EQ(values.size(), json.size());
  for (const auto& [name, value] : json.items()) {
    ASSERT_TRUE(values.contains(name)) << name;
    if (name != "started" && value.is_number()) {
      EXPECT_EQ(values[name], value.dump()) << name;
    }
  }

  EXPECT_EQ("anact " + values["anact"] + "\n", run({"--version"}).out);
  EXPECT_TRUE(std::regex_search(values["libtorch"], std::regex("^\\d+\\.\\d+\\.\\d+"))) << values["libtorch"];
  // Clang's version names the compiler itself.
#if defined(__clang__)
  EXPECT_EQ(values["compiler"], __VERSION__);
#else
  EXPECT_EQ(values["compiler"], "g++ " __VERSION__);
#endif
  EXPECT_NE(values["build_type"], "");
  EXPECT_TRUE(values.contains("build_flags"));
  EXPECT_EQ(values["cores"], std::to_string(std::thread::hardware_concurrency()));
  EXPECT_EQ(values["threads"], "1");
  EXPECT_TRUE(values["os"].starts_with("Linux ")) << values["os"];
  EXPECT_TRUE(has(" " + values["instruction_sets"] + " ", " " + values["instruction_set"] + " "));
  std::ifstream processors("/proc/cpuinfo");
  const std::string known{std::istreambuf_iterator<char>(processors), std::istreambuf_iterator<char>()};
  if (has(known, "model name")) {
    EXPECT_TRUE(has(known, ": " + values["cpu"] + "\n")) << values["cpu"];
  }
  std::tm started{};
  ASSERT_NE(::strptime(values["started"].c_str(), "%Y-%m-%dT%H:%M:%SZ", &started), nullptr) << values["started"];
  EXPECT_NEAR(static_cast<double>(::timegm(&started)), static_cast<double>(std::time(nullptr)), 60);
}

TEST(Info, WhatThereIsForAGpu) {
  // No library of that name can be opened, so there is no driver.
  const TemporaryFolder folder;
  folder.write("libcuda.so.1", "no library");
  Setting setting;
  setting.environment = {
      {"LD_LIBRARY_PATH", folder.path().string()}, {"ANACT_CACHE", folder.path().string()}, {"ANACT_CUDA", "off"}};
  const auto json = nlohmann::json::parse(run({"info", "--json"}, setting).out);
  const auto gpu = json.at("gpu").get<std::string>();
  EXPECT_TRUE(gpu.starts_with("none: no NVIDIA GPU can be used: ")) << gpu;
  EXPECT_TRUE(has(gpu, "libcuda.so.1")) << gpu;
  EXPECT_NE(json.at("gpu_compiler"), "");
  EXPECT_EQ(json.at("gpu_cache"), (folder / "cuda").string() + ", 0 kernels, 0 bytes");
  EXPECT_EQ(json.at("gpu_kernels"), "off, by ANACT_CUDA");
}

}  // namespace
}  // namespace anact::cli
