// `anact models`.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;
using nlohmann::json;

json models(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "models");
  arguments.insert(arguments.end(), {"--format", "json"});
  const auto result = run(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.error, "");
  return json::parse(result.out);
}

TEST(Models, ListsEveryNetwork) {
  const auto rows = models({});
  std::vector<std::string> names;
  for (const auto& row : rows) names.push_back(row.at("name"));
  EXPECT_EQ(names, (std::vector<std::string>{"mlp", "cnn", "resnet18", "resnet34", "resnet50", "resnet20", "resnet56",
                                             "resnet110"}));
  EXPECT_EQ(rows[0].at("image"), json({1, 8, 8}));
  EXPECT_EQ(rows[0].at("classes"), 10);
  EXPECT_EQ(rows[0].at("parameters"), 65 * 128 + 19 * 129 * 128 + 129 * 10);
  EXPECT_EQ(rows[0].at("multiply_adds"), 64 * 128 + 19 * 128 * 128 + 128 * 10);
  EXPECT_EQ(rows[0].at("activations"), 20);
  EXPECT_EQ(rows[2].at("image"), json({3, 32, 32}));
  EXPECT_EQ(rows[2].at("classes"), 100);
  const auto table = run({"models"});
  EXPECT_EQ(table.exit_code, 0);
  for (const auto& name : names) EXPECT_TRUE(has(table.out, name)) << table.out;
  EXPECT_TRUE(has(table.out, "3x32x32")) << table.out;
  const auto csv = run({"models", "--format", "csv"});
  EXPECT_EQ(std::ranges::count(csv.out, '\n'), 9);
  EXPECT_TRUE(csv.out.starts_with("name,title,image,classes,parameters,multiply_adds,activations\nmlp,")) << csv.out;
}

// Figures of torchvision's documentation.
TEST(Models, OptionsReachTheNetwork) {
  const auto rows = models({"resnet18", "--stem", "imagenet", "--image", "3x224x224", "--classes", "1000"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].at("parameters"), 11'689'512);
  EXPECT_NEAR(rows[0].at("multiply_adds").get<double>(), 1.814e9, 5.1e5);
  EXPECT_EQ(rows[0].at("activations"), 17);
  // ANAct has one parameter a place.
  const auto plain = models({"resnet20"}), normalized = models({"resnet20", "--activation", "nsilu"});
  EXPECT_EQ(normalized[0].at("parameters").get<int>() - plain[0].at("parameters").get<int>(), 19);
  EXPECT_EQ(normalized[0].at("multiply_adds"), plain[0].at("multiply_adds"));
}

TEST(Models, RefusesWhatItHasNot) {
  EXPECT_TRUE(has(refusal({"models", "resnet51"}), "unknown network 'resnet51'; did you mean resnet50"));
  EXPECT_TRUE(has(refusal({"models", "--stem", "cifra"}), "unknown stem 'cifra'; did you mean cifar"));
  EXPECT_TRUE(has(refusal({"models", "--activation", "sillu"}), "sillu"));
  EXPECT_TRUE(has(refusal({"models", "cnn", "--image", "3x2x2"}), "cnn: an image of 2x2 is too small"));
  for (const char* image :
       {"", "3", "3x32", "3x32x", "3x32x32x", "3x32x32 ", "0x32x32", "3x-1x32", "3x32x5000", "x3x32", "3,32,32"}) {
    EXPECT_TRUE(has(refusal({"models", "mlp", "--image", image}), "is not CHANNELSxHEIGHTxWIDTH")) << image;
  }
  EXPECT_TRUE(has(refusal({"models", "--classes", "0"}), "--classes"));
}

}  // namespace
}  // namespace anact::cli
