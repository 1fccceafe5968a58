#include "anact/options.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

#include "math/message_of.h"

namespace anact {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The defaults as docs/choices.md argues for them; nowhere else may they differ.
TEST(OptionTable, HasTheDefaultsOfTheDocuments) {
  EXPECT_EQ(to_text(Options{}),
            "statistics=previous:init_batch=off:solution=exact:target=damped:gain=activation:centre=on:"
            "momentum=0.01:gate=none:bounds=0.1,10:learnable=on");
}

TEST(OptionTable, EveryOptionReadsWhatItWrites) {
  Options odd;
  odd.statistics = StatisticsSource::fixed;
  odd.init_batch = true;
  odd.solution = Solution::geometric;
  odd.target = Target::unit;
  odd.gain = Gain::output;
  odd.centre = false;
  odd.momentum = 0.1 + 0.2;
  odd.gate = Interval(1e-300, 1.0 / 3);
  odd.bounds = {0.25, 4e7};
  odd.learnable = false;
  std::set<std::string_view> names;
  for (const auto& option : option_table()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_NE(option.write(odd), option.write({})) << option.name;
    Options copy;
    option.read(copy, option.write(odd));
    EXPECT_EQ(option.write(copy), option.write(odd)) << option.name;
    // And touches no other.
    for (const auto& other : option_table()) {
      if (other.name == option.name) continue;
      EXPECT_EQ(other.write(copy), other.write({})) << option.name << " changes " << other.name;
    }
    for (const auto name : option.names) EXPECT_NO_THROW(option.read(copy, name));
  }
  EXPECT_EQ(parse_options(to_text(odd)), odd);
  EXPECT_EQ(parse_options("", odd), odd);
  EXPECT_EQ(parse_options("gate=none", odd).gate, std::nullopt);
}

TEST(OptionTable, GivesTheValuesThatTheMathematicsTakes) {
  const auto options = parse_options("solution=forward:target=input:gain=output:bounds=0.5,2:momentum=0.25:gate=0.5,3");
  const auto normalization = options.normalization();
  EXPECT_EQ(normalization.solution, Solution::forward);
  EXPECT_EQ(normalization.target, Target::input);
  EXPECT_EQ(normalization.gain, Gain::output);
  EXPECT_EQ(normalization.lambda_min, 0.5);
  EXPECT_EQ(normalization.lambda_max, 2);
  const auto update = options.update();
  EXPECT_EQ(update.momentum, 0.25);
  EXPECT_EQ(update.gate_low, 0.5);
  EXPECT_EQ(update.gate_high, 3);
  EXPECT_EQ(Options{}.update().gate_high, 0);
}

TEST(OptionTable, RefusesWhatItCannotRead) {
  const auto refusal = [](const char* text) { return message_of([&] { validate(parse_options(text)); }); };
  EXPECT_TRUE(has(refusal("momentun=0.1"), "did you mean momentum?"));
  EXPECT_TRUE(has(refusal("solution=exakt"), "exact"));
  EXPECT_TRUE(has(refusal("target="), "unknown target"));
  EXPECT_TRUE(has(refusal("centre=yes"), "expected on or off, found 'yes'"));
  EXPECT_TRUE(has(refusal("gate=1"), "expected two numbers L,U"));
  EXPECT_TRUE(has(refusal("bounds=none"), "expected two numbers L,U"));
  for (const char* number : {"", "x", "0.1x", "1e999", " 0.1"}) {
    EXPECT_TRUE(has(refusal((std::string("momentum=") + number).c_str()), "expected a number")) << number;
  }
  EXPECT_TRUE(has(refusal("momentum=0"), "(0, 1]"));
  EXPECT_TRUE(has(refusal("momentum=1.5"), "(0, 1]"));
  EXPECT_TRUE(has(refusal("momentum=nan"), "(0, 1]"));
  EXPECT_TRUE(has(refusal("bounds=1,inf"), "lambda_max < inf"));
  EXPECT_TRUE(has(refusal("gate=2,1"), "0 <= low < high"));
  EXPECT_TRUE(has(refusal("bounds=2,1"), "lambda_min"));
  EXPECT_TRUE(has(refusal("centre=off"), "exact"));
  EXPECT_TRUE(has(refusal("init_batch=on"), "statistics=fixed"));
}

TEST(Recipes, AreValidAndNamed) {
  std::set<std::string> texts;
  for (const auto& info : recipes()) {
    EXPECT_EQ(parse_recipe(info.name), info.recipe);
    EXPECT_EQ(to_string(info.recipe), info.name);
    EXPECT_NO_THROW(validate(recipe_options(info.recipe))) << info.name;
    EXPECT_TRUE(texts.insert(to_text(recipe_options(info.recipe))).second) << info.name;
  }
  EXPECT_EQ(recipe_options(Recipe::deep), Options{});
  EXPECT_EQ(to_text(recipe_options(Recipe::paper)),
            "statistics=previous:init_batch=off:solution=compromise:target=input:gain=activation:centre=on:"
            "momentum=0.1:gate=none:bounds=0.1,10:learnable=on");
  EXPECT_TRUE(has(message_of([] { (void)parse_recipe("papar"); }), "did you mean paper?"));
}

}  // namespace
}  // namespace anact
