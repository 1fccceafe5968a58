#include "layers/table.h"

#include <gtest/gtest.h>

#include "network.h"

namespace anact::layers {
namespace {

TEST(LastStep, IsTheLatestWhateverTheOrder) {
  auto records = test::network(2, {100, 0, 50}, true);
  std::swap(records[0], records[2]);
  const auto rows = last_step(records);
  ASSERT_EQ(rows.size(), 3u);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].step, 100);
    EXPECT_EQ(rows[i].layer, static_cast<std::int64_t>(i));
  }
  EXPECT_TRUE(last_step({}).empty());
}

TEST(LayerTable, IsAlignedMarkdown) {
  EXPECT_EQ(layer_table(test::network(2, {0}, true)),
            "| layer | name | kind   | activation | E[x²] in | E[x²] out |  Var g in | Var g out |    ρ |   ρ′ |   λ |"
            "    λ²ρ |   λ²ρ′ |   μ |    α | dead, % | update ratio |\n"
            "|------:|:-----|:-------|:-----------|---------:|----------:|----------:|----------:|-----:|-----:|----:|"
            "-------:|-------:|----:|-----:|--------:|-------------:|\n"
            "|     0 | fc0  | linear | –          |        1 |         1 |         – |    0.0001 |    – |    – |   – |"
            "      – |      – |   – |    – |       – |        0.001 |\n"
            "|     1 | act0 | ANAct  | silu       |        1 |         1 |    0.0001 |    0.0001 | 0.36 | 0.38 | 1.6 |"
            " 0.9216 | 0.9728 | 0.2 | 0.01 |       0 |            – |\n"
            "|     2 | fc1  | linear | –          |        1 |    0.9048 | 0.0001051 |    0.0001 |    – |    – |   – |"
            "      – |      – |   – |    – |       – |        0.002 |\n");
}

TEST(LayerTable, LeavesOutWhatNoLayerHas) {
  const std::string table = layer_table(test::network(1, {0}, false));
  for (const char* missing : {"activation", "ρ", "λ", "μ", "α", "dead", "Var g in"}) {
    EXPECT_EQ(table.find(missing), std::string::npos) << missing;
  }
  EXPECT_NE(table.find("update ratio"), std::string::npos);
}

TEST(LayerTable, SaysWhyAPredictionIsMissing) {
  auto records = test::network(1, {0}, false);
  EXPECT_EQ(layer_table(records).find("not predicted"), std::string::npos);
  records[0].unpredicted = "second moment: the input is empty";
  EXPECT_NE(layer_table(records).find("| not predicted"), std::string::npos);
  EXPECT_NE(layer_table(records).find("| second moment: the input is empty |"), std::string::npos);
}

TEST(LayerTable, OfNoRecordsIsAHeader) {
  const std::string table = layer_table({});
  EXPECT_EQ(table.find("| layer | name "), 0u);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2);
}

}  // namespace
}  // namespace anact::layers
