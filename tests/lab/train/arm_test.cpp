#include "train/arm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact::train {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

std::string refusal(const std::string& arm) {
  const auto message = message_of([&] { (void)parse_arm(arm); });
  const auto head = "arm '" + arm + "': ";
  return message.starts_with(head) ? message.substr(head.size()) : "does not name the arm: " + message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ParseArm, APlainActivation) {
  const auto arm = parse_arm("silu");
  EXPECT_EQ(arm.name, "silu");
  EXPECT_EQ(arm.activation, parse_activation("silu"));
  EXPECT_FALSE(arm.normalized);
  EXPECT_FALSE(arm.norm.has_value());
  EXPECT_EQ(arm.initialization, models::Initialization::he);
  EXPECT_FALSE(arm.learning_rate.has_value());
  EXPECT_EQ(arm.baseline, "");
}

TEST(ParseArm, AnNAsksForAnact) {
  const auto arm = parse_arm("nsilu");
  EXPECT_EQ(arm.name, "nsilu");
  EXPECT_EQ(arm.activation, parse_activation("silu"));
  EXPECT_TRUE(arm.normalized);
  EXPECT_FALSE(arm.norm.has_value());
  EXPECT_EQ(arm.initialization, models::Initialization::orthogonal);
  EXPECT_EQ(arm.anact.activation(), parse_activation("silu"));
  EXPECT_EQ(arm.anact.statistics(), StatisticsSource::previous);
  EXPECT_EQ(arm.anact.solution(), Solution::exact);
  EXPECT_EQ(arm.anact.target(), Target::damped);
  EXPECT_EQ(arm.anact.gain(), Gain::activation);
  EXPECT_TRUE(arm.anact.centre());
  EXPECT_EQ(arm.anact.momentum(), 0.01);
  EXPECT_FALSE(arm.anact.gate().has_value());
  EXPECT_EQ(arm.anact.bounds(), (nn::ANActOptions::Interval{0.1, 10}));
  EXPECT_TRUE(arm.anact.learnable());
}

TEST(ParseArm, EveryActivationOfTheCatalogueWithAndWithoutN) {
  for (const auto& info : activation_catalogue()) {
    std::vector<std::string> names{std::string(info.name)};
    names.insert(names.end(), info.aliases.begin(), info.aliases.end());
    for (const auto& name : names) {
      EXPECT_EQ(parse_arm(name).activation, make_activation(info.kind)) << name;
      EXPECT_FALSE(parse_arm(name).normalized) << name;
      EXPECT_EQ(parse_arm("n" + name).activation, make_activation(info.kind)) << name;
      EXPECT_TRUE(parse_arm("n" + name).normalized) << name;
    }
  }
  EXPECT_EQ(parse_arm("nelu(alpha=0.5):lr=1").activation, parse_activation("elu(alpha=0.5)"));
}

TEST(ParseArm, EverySetting) {
  const auto arm = parse_arm(
      "nrelu:init=glorot:lr=0.01:name=mine:vs=other:statistics=running:solution=exact:target=unit:gain=output:"
      "centre=on:momentum=0.25:gate=0.5,2:bounds=0.2,5:learnable=off");
  EXPECT_EQ(arm.name, "mine");
  EXPECT_EQ(arm.baseline, "other");
  EXPECT_EQ(arm.initialization, models::Initialization::glorot);
  EXPECT_EQ(arm.learning_rate, 0.01);
  EXPECT_EQ(arm.anact.statistics(), StatisticsSource::running);
  EXPECT_EQ(arm.anact.solution(), Solution::exact);
  EXPECT_EQ(arm.anact.target(), Target::unit);
  EXPECT_EQ(arm.anact.gain(), Gain::output);
  EXPECT_TRUE(arm.anact.centre());
  EXPECT_EQ(arm.anact.momentum(), 0.25);
  EXPECT_EQ(arm.anact.gate(), (nn::ANActOptions::Interval{0.5, 2}));
  EXPECT_EQ(arm.anact.bounds(), (nn::ANActOptions::Interval{0.2, 5}));
  EXPECT_FALSE(arm.anact.learnable());

  EXPECT_FALSE(parse_arm("nsilu:solution=forward:centre=off").anact.centre());
  EXPECT_EQ(parse_arm("nsilu:statistics=batch").anact.statistics(), StatisticsSource::batch);
  for (const char* name : {"none", "batch", "group", "layer"}) {
    for (const std::string activation : {"silu", "nsilu", "prelu"}) {
      const auto normed = parse_arm(activation + ":norm=" + name);
      ASSERT_TRUE(normed.norm.has_value());
      EXPECT_EQ(models::to_string(*normed.norm), name);
      EXPECT_EQ(normed.normalized, activation == "nsilu");
    }
  }
  for (const char* name : {"he", "lecun", "glorot", "gain", "orthogonal-gain"}) {
    EXPECT_EQ(models::to_string(parse_arm(std::string("silu:init=") + name).initialization), name);
  }
  for (const char* name : {"compromise", "forward", "backward", "geometric", "exact"}) {
    EXPECT_EQ(to_string(parse_arm(std::string("nsilu:solution=") + name).anact.solution()), name);
  }
}

TEST(ParseArm, WhatItSetsOfTheNetwork) {
  using models::Residual;
  using models::WeightStandardization;
  const auto plain = parse_arm("silu");
  EXPECT_EQ(plain.standardization, WeightStandardization::none);
  EXPECT_EQ(plain.residual, Residual::post);
  EXPECT_FALSE(plain.skip_init);
  const auto nf = parse_arm("silu:norm=none:ws=scaled:residual=nf:skipinit=on");
  EXPECT_EQ(nf.norm, models::Norm::none);
  EXPECT_EQ(nf.standardization, WeightStandardization::scaled);
  EXPECT_EQ(nf.residual, Residual::nf);
  EXPECT_TRUE(nf.skip_init);
  const auto options = nf.applied_to({.name = "resnet20", .norm = models::Norm::batch, .activation = {}});
  EXPECT_EQ(options.norm, models::Norm::none);
  EXPECT_EQ(options.standardization, WeightStandardization::scaled);
  EXPECT_EQ(options.residual, Residual::nf);
  EXPECT_TRUE(options.skip_init);
  EXPECT_TRUE(options.activation);
  EXPECT_EQ(plain.applied_to({.norm = models::Norm::batch, .activation = {}}).norm, models::Norm::batch);
  EXPECT_FALSE(plain.applied_to({.activation = {}}).norm.has_value());
  EXPECT_EQ(parse_arm("nsilu:residual=pre").residual, Residual::pre);
  EXPECT_EQ(refusal("silu:ws=on"), "expected none or scaled, found 'on'");
  EXPECT_EQ(refusal("silu:residual=preact"), "expected post, pre or nf, found 'preact'");
  EXPECT_EQ(refusal("silu:skipinit=yes"), "expected on or off, found 'yes'");
  EXPECT_EQ(refusal("softshrink(50):ws=scaled"), "the output of softshrink(lambd=50) does not vary under N(0, 1)");
}

TEST(ParseArm, APlainActivationBeforeStandardizedWeightsHasItsFixedScale) {
  const auto x = torch::linspace(-3, 3, 13, torch::kDouble);
  const auto output = [&](const std::string& arm) { return parse_arm(arm).factory()().forward(x); };
  const double scale = std::sqrt(2 / (1 - 1 / M_PI));
  EXPECT_TRUE(output("relu:ws=scaled").allclose(scale * torch::relu(x), 1e-10, 1e-12));
  EXPECT_TRUE(output("relu:ws=none").equal(torch::relu(x)));
  // Slope a below 0: E[f] = (1 - a) / sqrt(2 pi), E[f^2] = (1 + a^2) / 2.
  const double variance = (1 + 0.0625) / 2 - 0.5625 / (2 * M_PI);
  auto prelu = parse_arm("prelu:ws=scaled").factory()();
  prelu.ptr()->to(torch::kDouble);
  EXPECT_TRUE(prelu.forward(x).allclose(torch::leaky_relu(x, 0.25) / std::sqrt(variance), 1e-10, 1e-12));
  EXPECT_TRUE(output("nrelu:ws=scaled").equal(output("nrelu")));
}

TEST(ParseArm, InitializationFollowsTheActivation) {
  EXPECT_EQ(parse_arm("selu").initialization, models::Initialization::lecun);
  EXPECT_EQ(parse_arm("nsilu:norm=group").initialization, models::Initialization::orthogonal);
  EXPECT_EQ(parse_arm("nsilu:init=gain:norm=none").initialization, models::Initialization::gain);
  EXPECT_EQ(parse_arm("silu:norm=batch").initialization, models::Initialization::he);
  EXPECT_EQ(parse_arm("nsilu:init=he").initialization, models::Initialization::he);
}

TEST(ParseArm, ShortNames) {
  const auto gain = parse_arm("silu-gain");
  EXPECT_EQ(gain.name, "silu-gain");
  EXPECT_FALSE(gain.norm.has_value());
  EXPECT_EQ(gain.initialization, models::Initialization::gain);
  const auto batch = parse_arm("silu-batchnorm:lr=0.5");
  EXPECT_EQ(batch.name, "silu-batchnorm:lr=0.5");
  EXPECT_EQ(batch.norm, models::Norm::batch);
  EXPECT_EQ(batch.learning_rate, 0.5);
  EXPECT_EQ(parse_arm("silu-gain:name=fixed").name, "fixed");
  EXPECT_EQ(parse_arm("silu-gain:init=he").initialization, models::Initialization::he);
}

TEST(ParseArm, ARecipeFollowsTheActivation) {
  const auto paper = parse_arm("nsilu-paper");
  EXPECT_EQ(paper.name, "nsilu-paper");
  EXPECT_EQ(paper.activation, parse_activation("silu"));
  EXPECT_TRUE(paper.normalized);
  EXPECT_EQ(paper.initialization, models::Initialization::lecun);
  EXPECT_EQ(paper.anact.values(), recipe_options(Recipe::paper));
  // What is given beside it wins, wherever it stands.
  const auto changed = parse_arm("nelu(alpha=0.5)-paper:momentum=0.05:init=he");
  EXPECT_EQ(changed.activation, parse_activation("elu(alpha=0.5)"));
  EXPECT_EQ(changed.initialization, models::Initialization::he);
  EXPECT_EQ(changed.anact.momentum(), 0.05);
  EXPECT_EQ(changed.anact.solution(), Solution::compromise);
  for (const auto& info : recipes()) {
    const auto arm = parse_arm("nrelu-" + std::string(info.name));
    EXPECT_EQ(arm.anact.values(), recipe_options(info.recipe)) << info.name;
    EXPECT_EQ(models::to_string(arm.initialization), info.weights) << info.name;
  }
  EXPECT_EQ(parse_arm("nsilu-deep").anact.values(), parse_arm("nsilu").anact.values());
  EXPECT_TRUE(has(refusal("nsilu-papper"), "nsilu-paper"));
  EXPECT_TRUE(has(refusal("silu-paper"), "unknown activation 'silu-paper'"));
}

TEST(ParseArm, ALearntActivationIsAPlainOne) {
  const auto swish = parse_arm("swish-beta:norm=batch:init=gain:lr=0.5:name=mine:vs=other");
  EXPECT_EQ(swish.activation_name(), "swish-beta");
  EXPECT_EQ(swish.norm, models::Norm::batch);
  EXPECT_EQ(swish.initialization, models::Initialization::gain);
  EXPECT_EQ(swish.weights().activation, parse_activation("silu"));
  EXPECT_EQ(swish.learning_rate, 0.5);
  EXPECT_EQ(swish.name, "mine");
  EXPECT_EQ(swish.baseline, "other");
  const auto prelu = parse_arm("prelu");
  EXPECT_FALSE(prelu.normalized);
  EXPECT_EQ(prelu.initialization, models::Initialization::he);
  EXPECT_EQ(prelu.weights().activation, parse_activation("leaky_relu(0.25)"));
  EXPECT_EQ(prelu.factory()().ptr()->parameters().size(), 1u);
  EXPECT_EQ(prelu.to_json(0.001).at("activation"), "prelu");
  for (const char* arm : {"nswish-beta", "nprelu", "nprelu-paper", "nprelu:solution=exact"}) {
    EXPECT_TRUE(has(refusal(arm), "ANAct's activations have no learnt parameter")) << refusal(arm);
  }
  EXPECT_TRUE(has(refusal("swish-bta"), "did you mean swish-beta"));
  EXPECT_TRUE(has(refusal("prellu"), "did you mean prelu"));
  EXPECT_TRUE(has(refusal("prelu(0.1)"), "unknown activation 'prelu(0.1)'"));
}

TEST(ParseArm, UnknownNamesComeWithTheNearest) {
  EXPECT_TRUE(has(refusal("sillu"), "unknown activation 'sillu'; did you mean silu"));
  EXPECT_TRUE(has(refusal("nsilo"), "nsilu"));
  EXPECT_TRUE(has(refusal("silu-gian"), "silu-gain"));
  EXPECT_TRUE(has(refusal(""), "unknown activation ''"));
  EXPECT_TRUE(has(refusal("nsilu:solutoin=exact"), "unknown setting 'solutoin'; did you mean solution"));
  EXPECT_TRUE(has(refusal("nsilu:solution=exakt"), "exact"));
  EXPECT_TRUE(has(refusal("silu:init=hee"), "there are he, lecun, glorot, orthogonal, pytorch, gain, orthogonal-gain"));
  EXPECT_EQ(refusal("silu:norm=instance"), "expected none, batch, group or layer, found 'instance'");
  EXPECT_EQ(refusal("silu:norm=anact"), "norm=anact: put an n in front of the activation instead");
  EXPECT_TRUE(has(refusal("silu:"), "unknown setting ''"));
  EXPECT_TRUE(has(refusal("silu::lr=1"), "unknown setting ''"));
  EXPECT_TRUE(has(refusal("elu(beta=1)"), "alpha"));
}

TEST(ParseArm, ImpossibleValues) {
  for (const char* value : {"0", "-1", "nan", "inf", "1e999", "", "0.1x", " 0.1", "0,1"}) {
    EXPECT_NE(refusal(std::string("silu:lr=") + value), "no error") << value;
    EXPECT_FALSE(has(refusal(std::string("silu:lr=") + value), "does not name the arm")) << value;
  }
  for (const char* arm :
       {"nsilu:momentum=0", "nsilu:momentum=1.5", "nsilu:momentum=nan", "nsilu:gate=1", "nsilu:gate=2,1",
        "nsilu:gate=-1,1", "nsilu:gate=a,b", "nsilu:bounds=0,1", "nsilu:bounds=2,1", "nsilu:bounds=1",
        "nsilu:centre=yes", "nsilu:learnable=1", "nsilu:statistics=next", "nsilu:target=two", "nsilu:gain=all",
        "nsilu:solution=exact:centre=off", "silu:name=", "silu:name"}) {
    const auto message = refusal(arm);
    EXPECT_FALSE(has(message, "no error") || has(message, "does not name the arm")) << arm << ": " << message;
    EXPECT_FALSE(has(message, "\n")) << message;
  }
  // A short name's message shows what was typed.
  EXPECT_EQ(refusal("silu-gain:lr=x"), "expected a number, found 'x'");
  // JSON could not hold such a name.
  EXPECT_EQ(refusal("silu:name=\xff"), "expected UTF-8");
  EXPECT_EQ(parse_arm("silu:name=ünï").name, "ünï");
}

TEST(ParseArm, SettingsOfAnactNeedAnact) {
  EXPECT_TRUE(has(refusal("silu:solution=exact"), "the setting 'solution' is ANAct's"));
  EXPECT_TRUE(has(refusal("silu:norm=batch:momentum=0.1"), "the setting 'momentum' is ANAct's"));
  EXPECT_EQ(parse_arm("nsilu:norm=none:gate=0.5,2").anact.gate(), (nn::ANActOptions::Interval{0.5, 2}));
}

TEST(ParseArms, PairsAnArmWithItsPlainCounterpart) {
  const auto arms = parse_arms({"silu", "nsilu", "relu", "nrelu", "selu", "silu-gain", "silu-batchnorm", "nmish"});
  std::vector<std::string> baselines;
  for (const auto& arm : arms) baselines.push_back(arm.baseline);
  EXPECT_EQ(baselines, (std::vector<std::string>{"silu", "silu", "relu", "relu", "selu", "silu", "silu", ""}));
}

TEST(ParseArms, ThePlainCounterpartHasTheSameNetworkIfThereIsOne) {
  const auto arms = parse_arms({"silu", "nsilu:norm=group", "silu:norm=group", "nsilu:norm=none", "silu:norm=layer"});
  std::vector<std::string> baselines;
  for (const auto& arm : arms) baselines.push_back(arm.baseline);
  EXPECT_EQ(baselines, (std::vector<std::string>{"silu", "silu:norm=group", "silu", "silu", "silu"}));
  const auto others = parse_arms({"silu:residual=pre", "nsilu:residual=pre", "nsilu:residual=pre:skipinit=on"});
  baselines.clear();
  for (const auto& arm : others) baselines.push_back(arm.baseline);
  EXPECT_EQ(baselines, (std::vector<std::string>{"", "silu:residual=pre", ""}));
}

TEST(ParseArms, ALearntActivationIsNoCounterpartOfItsStart) {
  const auto arms = parse_arms({"swish-beta", "nsilu", "swish-beta:init=gain", "prelu:norm=batch",
                                "leaky_relu(negative_slope=0.25)", "prelu", "nleaky_relu(negative_slope=0.25)"});
  std::vector<std::string> baselines;
  for (const auto& arm : arms) baselines.push_back(arm.baseline);
  EXPECT_EQ(baselines,
            (std::vector<std::string>{"swish-beta", "", "swish-beta", "prelu", "leaky_relu(negative_slope=0.25)",
                                      "prelu", "leaky_relu(negative_slope=0.25)"}));
}

TEST(ParseArms, VsNamesTheCounterpart) {
  const auto arms = parse_arms({"silu", "nsilu:vs=nrelu", "nrelu"});
  EXPECT_EQ(arms[1].baseline, "nrelu");
  EXPECT_EQ(message_of([] {
              (void)parse_arms({"silu", "nsilu:vs=mish"});
            }),
            "arm 'nsilu:vs=mish': vs=mish names no arm of this comparison");
}

TEST(ParseArms, RefusesTwoArmsOfOneName) {
  for (const std::vector<std::string>& texts :
       {std::vector<std::string>{"silu", "silu"}, {"silu", "nsilu:name=silu"}, {"silu:name=a", "relu:name=a"}}) {
    EXPECT_TRUE(has(message_of([&] { (void)parse_arms(texts); }), "there are two arms of that name"));
  }
  EXPECT_EQ(parse_arms({"silu", "silu:name=again"}).size(), 2u);
}

TEST(ArmToJson, HoldsEverySetting) {
  const auto json = parse_arms({"relu", "nrelu:solution=forward:gate=0.5,2:lr=0.5"})[1].to_json(0.001);
  EXPECT_EQ(json, nlohmann::json::parse(R"({"name": "nrelu:solution=forward:gate=0.5,2:lr=0.5", "activation": "relu",
      "normalization": "anact", "initialization": "orthogonal", "learning_rate": 0.5, "baseline": "relu",
      "anact": {"statistics": "previous", "init_batch": false, "solution": "forward", "target": "damped",
                "gain": "activation", "centre": true, "momentum": 0.01, "bounds": [0.1, 10.0],
                "learnable": true, "gate": [0.5, 2.0]}})"));
  EXPECT_EQ(parse_arm("silu:norm=batch").to_json(0.001),
            nlohmann::json::parse(R"({"name": "silu:norm=batch", "activation": "silu", "normalization": "batch",
                                      "initialization": "he", "learning_rate": 0.001})"));
}

TEST(ArmToJson, IsAsBeforeWithoutTheSettingsOfTheNetwork) {
  EXPECT_EQ(
      parse_arm("silu").to_json(0.001).dump(),
      R"({"activation":"silu","initialization":"he","learning_rate":0.001,"name":"silu","normalization":"none"})");
  EXPECT_EQ(parse_arm("silu:norm=batch:ws=none:residual=post:skipinit=off:name=a").to_json(0.5).dump(),
            R"({"activation":"silu","initialization":"he","learning_rate":0.5,"name":"a","normalization":"batch"})");
  EXPECT_EQ(
      parse_arm("nrelu-gpn:vs=x:name=a").to_json(0.5).dump(),
      R"({"activation":"relu","anact":{"bounds":[0.1,10.0],"centre":true,"gain":"activation","init_batch":false,"learnable":false,"momentum":0.01,"solution":"exact","statistics":"fixed","target":"unit"},"baseline":"x","initialization":"orthogonal","learning_rate":0.5,"name":"a","normalization":"anact"})");
}

TEST(ArmToJson, TellsWhatItSetsOfTheNetwork) {
  EXPECT_EQ(parse_arm("silu:norm=none:ws=scaled:residual=nf:skipinit=on:name=a").to_json(0.5),
            nlohmann::json::parse(R"({"name": "a", "activation": "silu", "normalization": "none", "norm": "none",
                "ws": "scaled", "residual": "nf", "skipinit": true, "initialization": "he", "learning_rate": 0.5})"));
}

TEST(ArmToJson, TellsTheNorm) {
  const auto pair = [](const std::string& arm) {
    const auto json = parse_arm(arm).to_json(0.001);
    return std::make_pair(json.at("normalization").get<std::string>(), json.value("norm", ""));
  };
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(pair("silu"), Pair("none", ""));
  EXPECT_EQ(pair("silu:norm=none"), Pair("none", "none"));
  EXPECT_EQ(pair("silu:norm=group"), Pair("group", ""));
  EXPECT_EQ(pair("silu:norm=layer"), Pair("layer", ""));
  EXPECT_EQ(pair("nsilu"), Pair("anact", ""));
  EXPECT_EQ(pair("nsilu:norm=none"), Pair("anact", "none"));
  EXPECT_EQ(pair("nsilu:norm=batch"), Pair("anact", "batch"));
}

}  // namespace
}  // namespace anact::train
