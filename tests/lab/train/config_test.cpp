#include "train/config.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>
#include <stdexcept>

#include "support/message.h"

namespace anact::train {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string toml_refusal(const std::string& text) {
  return message([&] {
    Config config;
    apply_toml(config, text, "run.toml");
  });
}

const Setting& setting(std::string_view flag) {
  for (const auto& candidate : settings()) {
    if (candidate.flag == flag) return candidate;
  }
  throw std::logic_error("no such flag");
}

TEST(Settings, EachFlagAndEachNameIsThereOnce) {
  std::set<std::string> flags, names;
  for (const auto& item : settings()) {
    EXPECT_TRUE(item.flag.starts_with("--"));
    EXPECT_TRUE(flags.emplace(item.flag).second) << item.flag;
    EXPECT_TRUE(names.insert(std::string(item.section).append(".").append(item.name)).second) << item.name;
    EXPECT_FALSE(item.help.empty());
  }
}

using Flags = std::set<std::string_view>;

Flags without_meaning(const Config& config) {
  Flags flags;
  for (const auto& item : settings()) {
    if (!item.applies(config)) flags.insert(item.flag);
  }
  return flags;
}

TEST(Settings, ApplyWhereTheyChangeSomething) {
  Config config;
  const Flags of_default{"--preset",          "--data-path",   "--image-size",   "--train-samples", "--test-samples",
                         "--crop-padding",    "--flip",        "--resized-crop", "--erasing",       "--mixup",
                         "--cutmix",          "--widths",      "--blocks",       "--stem",          "--weights",
                         "--steps",           "--accumulate",  "--beta1",        "--beta2",         "--eps",
                         "--decay-all",       "--milestones",  "--gamma",        "--warmup-epochs", "--clip-norm",
                         "--label-smoothing", "--validation",  "--subset-seed",  "--input-scale",   "--input-shift",
                         "--relabel-after",   "--weight-scale"};
  EXPECT_EQ(without_meaning(config), of_default);

  config.model = "resnet18";
  config.optimizer = "adamw";
  config.schedule = "step";
  config.data = "folder";
  config.data_path = "images";
  config.checkpoint_minutes = 0;
  EXPECT_EQ(without_meaning(config),
            (Flags{"--preset",      "--train-samples", "--test-samples",  "--validation",      "--subset-seed",
                   "--input-scale", "--input-shift",   "--relabel-after", "--weight-scale",    "--crop-padding",
                   "--flip",        "--resized-crop",  "--erasing",       "--mixup",           "--cutmix",
                   "--depth",       "--width",         "--widths",        "--blocks",          "--batch-norm",
                   "--weights",     "--steps",         "--accumulate",    "--momentum",        "--nesterov",
                   "--decay-all",   "--warmup-epochs", "--clip-norm",     "--label-smoothing", "--keep"}));

  config.model = "cnn";
  config.preset = "digits";
  config.train_samples = config.test_samples = config.crop_padding = config.steps = 1;
  config.flip = config.resized_crop = true;
  config.erasing = config.mixup = config.cutmix = 0.5;
  config.weights = "w.safetensors";
  config.input_scale = config.input_shift = config.weight_scale = config.validation = 0.5;
  config.relabel_after = 1;
  config.accumulate = 2;
  config.weight_decay = config.warmup_epochs = config.clip_norm = config.label_smoothing = 0.1;
  config.checkpoint_epochs = 1;
  EXPECT_EQ(without_meaning(config), (Flags{"--depth", "--width", "--stem", "--momentum", "--nesterov"}));
}

TEST(Toml, WhatIsWrittenReadsTheSame) {
  for (const auto& preset : presets()) {
    Config config;
    apply_preset(config, preset.name);
    EXPECT_NO_THROW(validate(config)) << preset.name;
    config.arms.emplace_back("silu:name=a \"quoted\" \\ name\n\t\x01");
    config.learning_rate = 0.1 + 0.2;
    config.weight_decay = 1e-300;
    config.milestones = {3, 5};
    config.data_path = "C:\\data 'x'";
    Config again;
    apply_toml(again, to_toml(config), "again");
    EXPECT_EQ(again, config) << preset.name;
  }
}

TEST(Toml, SettingsChangeTheirPreset) {
  Config config;
  apply_toml(config, "[training]\nlr = 1\n[experiment]\npreset = \"cifar100-cnn\"\n", "run.toml");
  EXPECT_EQ(config.data, "cifar100");
  EXPECT_EQ(config.learning_rate, 1);
  EXPECT_EQ(config.preset, "cifar100-cnn");
}

TEST(Toml, ErrorsNameThePlace) {
  EXPECT_TRUE(toml_refusal("[training]\nlr = \n").starts_with("'run.toml', line 2, column "));
  EXPECT_EQ(toml_refusal("[training]\nlr = \"fast\"\n"), "'run.toml', line 2, column 6: lr: expected a number");
  EXPECT_EQ(toml_refusal("[training]\nepochs = 1.5\n"),
            "'run.toml', line 2, column 10: epochs: expected a whole number");
  EXPECT_TRUE(has(toml_refusal("[training]\nnesterov = 1\n"), "nesterov: expected true or false"));
  EXPECT_TRUE(has(toml_refusal("[model]\nwidths = [1, \"a\"]\n"), "widths: expected an array of whole numbers"));
  EXPECT_TRUE(has(toml_refusal("[experiment]\narms = \"silu\"\n"), "arms: expected an array of texts"));
  EXPECT_TRUE(has(toml_refusal("[model]\nname = 3\n"), "name: expected a text"));
  EXPECT_TRUE(has(toml_refusal("[training]\nepohcs = 3\n"), "unknown setting 'epohcs'; did you mean epochs"));
  EXPECT_TRUE(has(toml_refusal("[trainig]\nepochs = 3\n"), "unknown section 'trainig'; did you mean training"));
  EXPECT_TRUE(has(toml_refusal("epochs = 3\n"), "unknown section 'epochs'"));
  EXPECT_TRUE(has(toml_refusal("[experiment]\npreset = \"digts\"\n"), "unknown preset 'digts'; did you mean digits"));
  EXPECT_TRUE(has(toml_refusal("[training]\nlr = 1\nlr = 2\n"), "line 3"));
}

// The parser takes the stack for each dot.
TEST(Toml, LongDottedKeysAreRefused) {
  std::string key = "a";
  for (int i = 0; i < 50'000; ++i) key += ".a";
  for (const auto& text : {"\n" + key + " = 1", "\n[" + key + "]", "\n  \"a\"." + key + "=1"}) {
    Config config;
    try {
      apply_toml(config, text, "run.toml");
      ADD_FAILURE() << "read";
    } catch (const std::invalid_argument& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("'run.toml', line 2: a key with 5000")) << error.what();
    }
  }
  Config config;
  EXPECT_THROW(apply_toml(config, std::string(2'000'000, '#'), "run.toml"), std::invalid_argument);
  EXPECT_NO_THROW(apply_toml(config, "# " + std::string(100, '.') + "\n", "run.toml"));
}

TEST(Flags, SetWhatTheyName) {
  Config config;
  set(config, setting("--lr"), {"0.25"});
  set(config, setting("--epochs"), {"3"});
  set(config, setting("--flip"), {""});
  set(config, setting("--widths"), {"4", "8"});
  set(config, setting("--arms"), {"relu"});
  set(config, setting("--data"), {"mnist"});
  EXPECT_EQ(config.learning_rate, 0.25);
  EXPECT_EQ(config.epochs, 3);
  EXPECT_TRUE(config.flip);
  EXPECT_EQ(config.widths, (std::vector<std::int64_t>{4, 8}));
  EXPECT_EQ(config.arms, std::vector<std::string>{"relu"});
  EXPECT_EQ(config.data, "mnist");
  set(config, setting("--flip"), {"off"});
  EXPECT_FALSE(config.flip);
  EXPECT_EQ(message([&] { set(config, setting("--lr"), {"fast"}); }), "--lr: expected a number, found 'fast'");
  EXPECT_EQ(message([&] { set(config, setting("--epochs"), {"1.5"}); }),
            "--epochs: expected a whole number, found '1.5'");
  EXPECT_EQ(message([&] { set(config, setting("--flip"), {"yes"}); }), "--flip: expected on or off, found 'yes'");
}

TEST(Validate, NamesTheSettingAndItsRange) {
  const auto refusal = [](const std::function<void(Config&)>& change) {
    Config config;
    change(config);
    return message([&] { validate(config); });
  };
  EXPECT_EQ(refusal([](Config&) {}), "accepted");
  EXPECT_EQ(refusal([](Config& c) { c.depth = 0; }), "depth is 0; it must be from 1 to 10000");
  EXPECT_EQ(refusal([](Config& c) { c.width = -3; }), "width is -3; it must be from 1 to 100000");
  EXPECT_EQ(refusal([](Config& c) { c.epochs = -1; }), "epochs is -1; it must be from 0 to 1000000");
  EXPECT_EQ(refusal([](Config& c) { c.batch_size = 1; }), "batch size is 1; it must be from 2 to 1000000");
  EXPECT_EQ(refusal([](Config& c) { c.accumulate = 40; }), "accumulate is 40; it must be from 1 to 32");
  EXPECT_EQ(refusal([](Config& c) { c.seeds = 0; }), "seeds is 0; it must be from 1 to 10000");
  EXPECT_EQ(refusal([](Config& c) { c.first_seed = -1; }), "first seed is -1; it must be from 0 to 1000000000");
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const double rate : {0.0, -1.0, nan, inf}) {
    EXPECT_TRUE(refusal([&](Config& c) { c.learning_rate = rate; }).starts_with("learning rate is ")) << rate;
  }
  for (const double momentum : {-0.1, 1.0, nan}) {
    EXPECT_TRUE(refusal([&](Config& c) { c.momentum = momentum; }).starts_with("momentum is ")) << momentum;
  }
  for (const double decay : {-0.1, nan, inf}) {
    EXPECT_TRUE(refusal([&](Config& c) { c.weight_decay = decay; }).starts_with("weight decay is ")) << decay;
  }
  EXPECT_EQ(refusal([](Config& c) { c.arms.clear(); }), "there are no arms to compare");
  EXPECT_TRUE(has(refusal([](Config& c) { c.data = "cifar1000"; }), "data is 'cifar1000'; did you mean cifar100"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.model = "resnet51"; }), "did you mean resnet5"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.optimizer = "adam"; }), "did you mean adamw"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.schedule = "linear"; }), "unknown schedule 'linear'"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.precision = "float16"; }), "precision is 'float16'"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.stem = "big"; }), "big"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.milestones = {3, 3}; }), "ascending"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.widths = {}; }), "widths is empty"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.widths = {0}; }), "widths has 0"));
  EXPECT_TRUE(has(refusal([](Config& c) { c.nesterov = true, c.momentum = 0; }), "nesterov"));
  EXPECT_EQ(refusal([](Config& c) {
              c.model = "resnet18", c.arms = {"silu-batchnorm", "nsilu:residual=pre"};
            }),
            "accepted");
  EXPECT_EQ(refusal([](Config& c) { c.arms = {"silu:ws=scaled:norm=layer:residual=post:skipinit=off"}; }), "accepted");
  EXPECT_EQ(refusal([](Config& c) {
              c.arms = {"nsilu", "silu:residual=nf:name=a"};
            }),
            "arm 'a': residual is a setting of ResNets, and the model is mlp");
  EXPECT_EQ(refusal([](Config& c) { c.model = "cnn", c.arms = {"silu:skipinit=on"}; }),
            "arm 'silu:skipinit=on': skipinit is a setting of ResNets, and the model is cnn");
  EXPECT_TRUE(has(refusal([](Config& c) { c.arms = {"sillu"}; }), "did you mean silu"));
}

TEST(Differences, NameTheSettings) {
  Config there, here;
  EXPECT_TRUE(differences(there, here).empty());
  here.learning_rate = 0.5;
  here.data = "mnist";
  EXPECT_EQ(differences(there, here), (std::vector<std::string>{"name is \"digits\" there and \"mnist\" here",
                                                                "lr is 0.001 there and 0.5 here"}));
}

}  // namespace
}  // namespace anact::train
