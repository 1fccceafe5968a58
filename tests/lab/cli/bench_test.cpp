// `anact bench`, run as a user runs it, on what is timed in a moment.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

std::vector<std::string> operators(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"bench",   "--activations", "silu", "--sizes",  "1000", "--dtypes",
                                     "float32", "--threads",     "1",    "--rounds", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// The rows of a CSV file, each by the columns' names.
std::vector<std::map<std::string, std::string>> rows_of(const std::filesystem::path& path) {
  const auto lines = lines_of(content_of(path));
  std::vector<std::map<std::string, std::string>> rows;
  const auto header = fields_of(lines.at(0));
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const auto fields = fields_of(lines[i]);
    EXPECT_EQ(fields.size(), header.size()) << lines[i];
    for (std::size_t column = 0; column < fields.size(); ++column) {
      if (column == 0) rows.emplace_back();
      rows.back()[header.at(column)] = fields[column];
    }
  }
  return rows;
}

std::size_t table_rows(const std::string& text) {
  std::size_t count = 0;
  for (const auto& line : lines_of(text)) count += line.starts_with("| ") && !line.starts_with("| activation");
  return count;
}

// The three percentiles ascend, and are times.
void expect_times(std::map<std::string, std::string>& row, const std::string& contender) {
  const auto time = [&](const char* percentile) { return std::stod(row.at(contender + "_us_" + percentile)); };
  EXPECT_GT(time("p20"), 0) << contender;
  EXPECT_LE(time("p20"), time("p50")) << contender;
  EXPECT_LE(time("p50"), time("p80")) << contender;
}

std::string value_after(const std::string& text, const std::string& name) {
  const auto begin = text.find(name);
  return begin == std::string::npos ? ""
                                    : text.substr(begin + name.size(), text.find('\n', begin) - begin - name.size());
}

std::vector<std::string> instruction_sets() {
  const auto info = nlohmann::json::parse(run({"info", "--json"}).out);
  std::vector<std::string> sets;
  std::istringstream names(info.at("instruction_sets").get<std::string>());
  for (std::string name; names >> name;) sets.push_back(name);
  return sets;
}

// What PyTorch calls an instruction set of ours.
std::string torch_name(const std::string& set) {
  if (set.starts_with("AVX3") || set.starts_with("AVX10")) return "AVX512";
  return set == "AVX2" ? "AVX2" : "DEFAULT";
}

TEST(Bench, OperatorsEndWithATableAndACsv) {
  const TemporaryFolder folder;
  const auto csv = folder / "times.csv";
  const auto result = run({"bench", "--activations", "silu", "elu(alpha=0.5)", "--sizes", "33,5000", "--dtypes",
                           "float32,bfloat16", "--threads", "1", "--rounds", "2", "--csv", csv.string()});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  for (const char* name :
       {"Processor: ", "Instruction sets: ", "PyTorch ", __VERSION__, "threads available", "extra, µs"}) {
    EXPECT_TRUE(has(result.out, name)) << name << "\n" << result.out;
  }
  EXPECT_EQ(table_rows(result.out), 8u) << result.out;
  auto rows = rows_of(csv);
  ASSERT_EQ(rows.size(), 8u);
  for (auto& row : rows) {
    for (const char* contender : {"anact", "torch", "plain", "copy"}) expect_times(row, contender);
    for (const char* name : {"ratio_to_torch", "ratio_to_plain", "share_of_copy_bandwidth"}) {
      EXPECT_GT(std::stod(row.at(name)), 0) << name;
    }
    EXPECT_NE(row.at("extra_us"), "");
    EXPECT_EQ(row.at("threads"), "1");
    EXPECT_EQ(row.at("rounds"), "2");
  }
  EXPECT_EQ(rows[0].at("activation"), "silu");
  EXPECT_EQ(rows[0].at("dtype"), "float32");
  EXPECT_EQ(rows[0].at("elements"), "33");
  EXPECT_EQ(rows[3].at("dtype"), "bfloat16");
  EXPECT_EQ(rows[7].at("activation"), "elu(alpha=0.5)");
  EXPECT_EQ(rows[7].at("elements"), "5000");
}

TEST(SlowBench, StepsEndWithATableAndACsv) {
  const TemporaryFolder folder;
  const auto csv = folder / "steps.csv";
  const auto result = run({"bench", "--steps", "--networks", "mlp,cnn,resnet18", "--activations", "silu", "--batch",
                           "2", "--threads", "1", "--rounds", "1", "--csv", csv.string()});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(table_rows(result.out), 4u) << result.out;  // with the header
  auto rows = rows_of(csv);
  ASSERT_EQ(rows.size(), 3u);
  const char* networks[] = {"mlp", "cnn", "resnet18"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].at("network"), networks[i]);
    EXPECT_EQ(rows[i].at("activation"), "silu");
    EXPECT_EQ(rows[i].at("batch"), "2");
    EXPECT_EQ(rows[i].at("rounds"), "1");
    for (const char* contender : {"anact", "torch"}) expect_times(rows[i], contender);
    // Of a single round.
    const double ours = std::stod(rows[i].at("anact_us_p50")), torch = std::stod(rows[i].at("torch_us_p50"));
    EXPECT_NEAR(std::stod(rows[i].at("ratio_to_torch")), ours / torch, 1e-2 * ours / torch);
    EXPECT_NEAR(std::stod(rows[i].at("extra_us")), ours - torch, 2e-3 * ours);
  }
}

TEST(Bench, AnInstructionSetHoldsPyTorchToo) {
  const TemporaryFolder folder;
  const auto csv = folder / "times.csv";
  for (const auto& set : instruction_sets()) {
    const auto result = run(operators({"--instruction-set", set, "--csv", csv.string()}));
    ASSERT_EQ(result.exit_code, 0) << result.error;
    const auto row = rows_of(csv).at(0);
    EXPECT_EQ(row.at("instruction_set"), set);
    EXPECT_EQ(row.at("torch_instruction_set"), torch_name(set));
    EXPECT_TRUE(has(result.out, "ANAct " + set + ", PyTorch " + torch_name(set) + "\n")) << result.out;
  }
}

TEST(Bench, AnInstructionSetThatPyTorchDoesNotUseIsAFailure) {
  const auto best = instruction_sets().front();
  if (torch_name(best) == "DEFAULT") GTEST_SKIP() << "PyTorch has but one";
  Setting setting;
  setting.environment["ATEN_CPU_CAPABILITY"] = "default";
  const auto result = run(operators({"--instruction-set", best}), setting);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(has(result.error, "PyTorch uses DEFAULT and not " + torch_name(best))) << result.error;
  EXPECT_TRUE(has(result.error, "ATEN_CPU_CAPABILITY is 'default'")) << result.error;
  // Without the flag both are taken as they are.
  const auto mixed = run(operators(), setting);
  EXPECT_EQ(mixed.exit_code, 0) << mixed.error;
  EXPECT_TRUE(has(mixed.out, "ANAct " + best + ", PyTorch DEFAULT\n")) << mixed.out;
}

TEST(Bench, LeavesMallocAloneWhereTheEnvironmentSetsIt) {
  const auto malloc_of = [](const Setting& setting) { return value_after(run(operators(), setting).out, "malloc: "); };
  EXPECT_EQ(malloc_of({}), "keeps freed memory");
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"MALLOC_TRIM_THRESHOLD_", "100000"}, {"GLIBC_TUNABLES", "glibc.rtld.nns=4:glibc.malloc.tcache_count=7"}}) {
    Setting setting;
    setting.environment[name] = value;
    EXPECT_EQ(malloc_of(setting), "as the environment sets it") << name;
  }
  Setting other;
  other.environment["GLIBC_TUNABLES"] = "glibc.rtld.nns=4";
  EXPECT_EQ(malloc_of(other), "keeps freed memory");
}

TEST(Bench, WhatCannotBeTimed) {
  const auto message = refusal(operators({"--instruction-set", "AVX9"}));
  EXPECT_TRUE(has(message, "unknown instruction set 'AVX9'")) << message;
  for (const auto& set : instruction_sets()) EXPECT_TRUE(has(message, set)) << message;
  EXPECT_TRUE(has(refusal({"bench", "--activations", "sillu"}), "did you mean silu"));
  EXPECT_TRUE(has(refusal({"bench", "--dtypes", "int8"}), "unknown type 'int8'; there are float32"));
  EXPECT_EQ(refusal({"bench", "--sizes", "0"}), "a size is 0; it must be at least 1 element");
  EXPECT_EQ(refusal({"bench", "--threads", "0"}), "threads is 0; it must be from 1 to 1024");
  EXPECT_EQ(refusal({"bench", "--rounds", "0"}), "rounds is 0; it must be at least 1");
  EXPECT_EQ(refusal({"bench", "--seconds", "nan"}), "seconds is nan; it must be 0 or more, and finite");
  EXPECT_EQ(refusal({"bench", "--steps", "--networks", "vgg"}), "unknown network 'vgg'; there are mlp, cnn, resnet18");
  EXPECT_EQ(refusal({"bench", "--steps", "--batch", "-1"}), "batch is -1; it must be from 1 to 65536");
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"bench", "--networks", "mlp"},
                                                                     {"bench", "--batch", "2"},
                                                                     {"bench", "--steps", "--sizes", "1"},
                                                                     {"bench", "--steps", "--dtypes", "float32"}}) {
    EXPECT_TRUE(has(refusal(arguments), "--steps"));
  }
}

}  // namespace
}  // namespace anact::cli
