#include "report/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "run_folder.h"

namespace anact::report {
namespace {

using test::Json;
using test::RunFolder;

// The message that loading ends with, without the folder's own name.
std::string message_of(const RunFolder& folder) {
  try {
    (void)load_run(folder.path());
  } catch (const std::runtime_error& error) {
    std::string text = error.what();
    const std::string path = folder.path().string();
    if (const auto place = text.find(path); place != std::string::npos) text.replace(place, path.size(), "RUN");
    return text;
  }
  return "no error";
}

// The message when one thing of a whole folder has been changed.
std::string message_after(const std::function<void(RunFolder&)>& damage) {
  RunFolder folder;
  folder.add_all();
  damage(folder);
  folder.save();
  return message_of(folder);
}

// Neither the stack nor the memory may depend on what someone wrote into a file.
TEST(LoadRun, DeepJsonIsRefusedByName) {
  const std::string deep = "{\"x\": " + std::string(1'000'000, '[') + "1" + std::string(1'000'000, ']') + "}";
  for (const std::string name : {"config.json", "environment.json", "status.json", "metrics.jsonl"}) {
    RunFolder folder;
    folder.add_all();
    folder.save();
    std::ofstream(folder.path() / name) << deep << "\n";
    const auto message = message_of(folder);
    EXPECT_TRUE(message.starts_with("'RUN/" + name + "'")) << message;
    EXPECT_TRUE(message.ends_with("nested deeper than 64 levels")) << message;
  }
}

TEST(LoadRun, ReadsAWholeRun) {
  RunFolder folder;
  folder.config["arguments"] = {"compare", "--preset", "tiny"};
  folder.add_all();
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_FALSE(run.partial);
  EXPECT_EQ(run.data_name, "spirals");
  EXPECT_EQ(run.model_name, "mlp");
  EXPECT_EQ(run.preset, "tiny");
  EXPECT_EQ(run.arguments, (std::vector<std::string>{"compare", "--preset", "tiny"}));
  EXPECT_EQ(run.seeds, (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(run.seconds, 1.5);
  ASSERT_EQ(run.arms.size(), 2u);
  EXPECT_FALSE(run.arms[0].baseline);
  EXPECT_EQ(run.arms[1].baseline, 0u);
  EXPECT_EQ(run.arms[1].settings, (Fields{{"activation", "silu"}, {"anact.momentum", "0.1"}}));
  ASSERT_EQ(run.trials.size(), 6u);
  const Trial& trial = run.trials[5];
  EXPECT_EQ(trial.arm, 1u);
  EXPECT_EQ(trial.seed, 2u);
  EXPECT_EQ(trial.outcome, Outcome::completed);
  ASSERT_EQ(trial.epochs.size(), 3u);
  EXPECT_FALSE(trial.epochs[0].train_loss);
  EXPECT_EQ(trial.epochs[2].test_accuracy, 0.75);
  EXPECT_EQ(trial.epochs[2].seconds, 0.5);
  ASSERT_EQ(trial.layers.size(), 2u);
  EXPECT_EQ(trial.layers[1].gradient_variance, (std::vector<double>{1e-3, 1e-2, 1e-1}));
  EXPECT_EQ(trial.layers[1].lambda, (std::vector<double>{1.5, 1.75}));
  EXPECT_TRUE(run.trials[0].layers[0].lambda.empty());
}

TEST(LoadRun, OrdersTrialsByArmAndSeedWhateverTheLinesOrder) {
  RunFolder folder({7, 3});
  for (const char* arm : {"normal", "plain"}) {
    folder.add_completed(arm, 3, 0.5);
    folder.add_completed(arm, 7, 0.5);
  }
  folder.save();
  const report::Run run = load_run(folder.path());
  ASSERT_EQ(run.trials.size(), 4u);
  EXPECT_EQ(run.trials[0].arm, 0u);
  EXPECT_EQ(run.trials[0].seed, 7u);
  EXPECT_EQ(run.trials[1].seed, 3u);
  EXPECT_EQ(run.trials[3].arm, 1u);
}

TEST(LoadRun, ReadsNonFiniteNumbers) {
  RunFolder folder({0});
  folder.add({{"event", "epoch"},
              {"arm", "plain"},
              {"seed", 0},
              {"epoch", 0},
              {"test_loss", "inf"},
              {"test_accuracy", "nan"}});
  folder.add({{"event", "layers"},
              {"arm", "plain"},
              {"seed", 0},
              {"epoch", 0},
              {"activation_second_moment", {"-inf", 1}},
              {"gradient_variance", Json::array()}});
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_EQ(run.trials[0].epochs[0].test_loss, INFINITY);
  EXPECT_TRUE(std::isnan(run.trials[0].epochs[0].test_accuracy));
  EXPECT_EQ(run.trials[0].layers[0].activation_second_moment, (std::vector<double>{-INFINITY, 1}));
}

TEST(LoadRun, KeepsWhereARunDiverged) {
  RunFolder folder({0});
  folder.add_diverged("plain", 0);
  folder.add_completed("normal", 0, 0.5);
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_FALSE(run.partial);
  EXPECT_EQ(run.trials[0].outcome, Outcome::diverged);
  EXPECT_EQ(run.trials[0].divergence, "epoch 2, step 15: loss is nan");
  EXPECT_EQ(run.trials[0].skipped_batches, 4u);
}

TEST(LoadRun, PassesOverATruncatedLastLine) {
  RunFolder folder;
  folder.add_all();
  folder.metrics += R"({"event": "epoch", "ar)";
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_TRUE(run.partial);
  EXPECT_EQ(run.reason, "metrics.jsonl ends within a line");
  EXPECT_EQ(run.ended(), 6u);
}

TEST(LoadRun, TakesAKilledRunForPartial) {
  RunFolder folder;
  folder.add_completed("plain", 0, 0.5);
  folder.add_epoch("plain", 1, 0, 0.1);
  folder.status["state"] = "running";
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_TRUE(run.partial);
  EXPECT_EQ(run.reason, "it is still running, or was killed");
  EXPECT_EQ(run.ended(), 1u);
  EXPECT_EQ(run.planned(), 6u);
  EXPECT_EQ(run.trials[1].outcome, Outcome::unfinished);
}

TEST(LoadRun, KeepsTheReasonOfAPartialRun) {
  RunFolder folder;
  folder.status = {{"state", "partial"}, {"reason", "interrupted by SIGINT"}, {"seconds", 1}};
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_TRUE(run.partial);
  EXPECT_EQ(run.reason, "interrupted by SIGINT");
  EXPECT_TRUE(run.trials.empty());
}

TEST(LoadRun, DoesNotBelieveACompleteStatusWithoutTheRuns) {
  RunFolder folder;
  folder.add_completed("plain", 0, 0.5);
  folder.save();
  const report::Run run = load_run(folder.path());
  EXPECT_TRUE(run.partial);
  EXPECT_EQ(run.reason, "metrics.jsonl holds the end of only 1 of 6 runs");
}

TEST(LoadRunErrors, NameTheMissingFile) {
  RunFolder folder;
  EXPECT_EQ(message_of(folder), "'RUN': not a run folder: expected a file 'config.json' in it");
  folder.add_all();
  folder.save();
  std::filesystem::remove(folder.path() / "metrics.jsonl");
  EXPECT_EQ(message_of(folder), "'RUN': not a run folder: expected a file 'metrics.jsonl' in it");
}

TEST(LoadRunErrors, NameLineAndByteOfMalformedJson) {
  RunFolder folder;
  folder.add_all();
  folder.save();
  folder.write("config.json", "{\n  \"schema\": 1,\n  oops\n}\n");
  EXPECT_EQ(message_of(folder).find("'RUN/config.json', line 3, byte 20: malformed JSON: "), 0u) << message_of(folder);
}

TEST(LoadRunErrors, NameTheMemberOfTheConfiguration) {
  const auto config = [](const std::function<void(Json&)>& change) {
    return message_after([&](RunFolder& folder) { change(folder.config); });
  };
  const std::string file = "'RUN/config.json': ";
  EXPECT_EQ(config([](Json& c) { c = Json::array(); }), file + "expected an object, found an array");
  EXPECT_EQ(config([](Json& c) { c["schema"] = 2; }),
            file + "'schema': expected 1, found 2: written by another version");
  EXPECT_EQ(config([](Json& c) { c["command"] = "bench"; }),
            file + "'command': expected \"compare\", \"train\", \"probe\" or \"study\", found \"bench\"");
  EXPECT_EQ(config([](Json& c) { c.erase("data"); }), file + "'data': missing, expected an object");
  EXPECT_EQ(config([](Json& c) { c["data"] = "digits"; }), file + "'data': expected an object, found a string");
  EXPECT_EQ(config([](Json& c) { c["model"].erase("name"); }), file + "'model.name': missing, expected a string");
  EXPECT_EQ(config([](Json& c) { c["training"] = nullptr; }), file + "'training': expected an object, found null");
  EXPECT_EQ(config([](Json& c) { c["arguments"] = {1}; }), file + "'arguments': expected an array of strings");
  const std::string seeds = file + "'seeds': expected an array of at least one whole number from 0 up, each once";
  EXPECT_EQ(config([](Json& c) { c["seeds"] = 3; }), seeds + ", found 3");
  EXPECT_EQ(config([](Json& c) { c["seeds"] = Json::array(); }), seeds);
  EXPECT_EQ(config([](Json& c) { c["seeds"] = {0, -1}; }), seeds);
  EXPECT_EQ(config([](Json& c) { c["seeds"] = {4, 4}; }), file + "'seeds': 4 is there twice");
  EXPECT_EQ(config([](Json& c) { c["arms"] = Json::array(); }),
            file + "'arms': expected an array of at least one object");
  EXPECT_EQ(config([](Json& c) { c["arms"][1] = 5; }), file + "'arms[1]': expected an object, found a number");
  EXPECT_EQ(config([](Json& c) { c["arms"][1]["name"] = true; }),
            file + "'arms[1].name': expected a string, found a boolean");
  EXPECT_EQ(config([](Json& c) { c["arms"][1]["name"] = "plain"; }),
            file + "'arms[1].name': a second arm called \"plain\"");
  EXPECT_EQ(config([](Json& c) { c["baseline"] = "gelu"; }), file + "'baseline': no arm is called \"gelu\"");
  EXPECT_EQ(config([](Json& c) { c["arms"][1]["baseline"] = "gelu"; }),
            file + "'arms[1].baseline': no arm is called \"gelu\"");
}

TEST(LoadRunErrors, NameTheMemberOfStatusAndEnvironment) {
  EXPECT_EQ(message_after([](RunFolder& f) { f.status["state"] = "done"; }),
            "'RUN/status.json': 'state': expected \"running\", \"partial\" or \"complete\", found \"done\"");
  EXPECT_EQ(message_after([](RunFolder& f) { f.status.erase("seconds"); }),
            "'RUN/status.json': 'seconds': missing, expected a number, \"nan\", \"inf\" or \"-inf\"");
  EXPECT_EQ(message_after([](RunFolder& f) { f.environment = "x"; }),
            "'RUN/environment.json': expected an object, found a string");
}

// The message for this line after the first, which is a good one.
std::string message_for(const std::string& line) {
  RunFolder folder;
  folder.add_epoch("plain", 0, 1, 0.5);
  folder.metrics += line + "\n";
  folder.save();
  return message_of(folder);
}

TEST(LoadRunErrors, NameTheLineOfTheMetrics) {
  const std::string at = "'RUN/metrics.jsonl', line 2: ";
  EXPECT_EQ(message_for("{\"event\": }").find("'RUN/metrics.jsonl', line 2, byte 11: malformed JSON: syntax error"), 0u)
      << message_for("{\"event\": }");
  EXPECT_EQ(message_for("").find("'RUN/metrics.jsonl', line 2, byte 1: malformed JSON: "), 0u) << message_for("");
  EXPECT_EQ(message_for("[]"), at + "expected an object, found an array");
  EXPECT_EQ(message_for(R"({"arm": "plain"})"), at + "'event': missing, expected a string");
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "gelu", "seed": 0})"),
            at + "'arm': expected an arm of config.json, found \"gelu\"");
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "plain", "seed": 9})"),
            at + "'seed': expected a seed of config.json, found 9");
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "plain", "seed": -1})"),
            at + "'seed': expected a whole number from 0 up, found -1");
  EXPECT_EQ(message_for(R"({"event": "lunch", "arm": "plain", "seed": 0})"),
            at + "'event': expected \"epoch\", \"layers\", \"diverged\" or \"finished\", found \"lunch\"");
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "plain", "seed": 0, "epoch": 1})"),
            at + "'epoch': expected one after 1, found 1");
  const std::string number = "a number, \"nan\", \"inf\" or \"-inf\"";
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "plain", "seed": 0, "epoch": 2})"),
            at + "'test_loss': missing, expected " + number);
  EXPECT_EQ(message_for(R"({"event": "epoch", "arm": "plain", "seed": 0, "epoch": 2, "test_loss": "low"})"),
            at + "'test_loss': expected " + number + ", found \"low\"");
  EXPECT_EQ(
      message_for(R"({"event": "epoch", "arm": "plain", "seed": 0, "epoch": 2, "test_loss": 1, "test_accuracy": 0.5})"),
      at + "'train_loss': missing, expected " + number);
  EXPECT_EQ(message_for(
                R"({"event": "layers", "arm": "plain", "seed": 0, "epoch": 0, "activation_second_moment": [1, null]})"),
            at + "'activation_second_moment[1]': expected " + number + ", found null");
  EXPECT_EQ(message_for(R"({"event": "diverged", "arm": "plain", "seed": 0, "epoch": 2, "step": 1.5})"),
            at + "'step': expected a whole number from 0 up, found 1.5");
}

TEST(LoadRunErrors, FindARunThatEndsTwiceOrWithoutReason) {
  const std::string at = "'RUN/metrics.jsonl', line 2: ";
  const auto finished = [](const std::string& status) {
    return R"({"event": "finished", "arm": "plain", "seed": 0, "skipped_batches": 0, "status": ")" + status + "\"}";
  };
  EXPECT_EQ(message_for(finished("fine")), at + "'status': expected \"completed\" or \"diverged\", found \"fine\"");
  EXPECT_EQ(message_for(finished("diverged")), at + "'status': \"diverged\" without a line that says where");
  EXPECT_EQ(message_for(finished("completed") + "\n" + finished("completed")),
            "'RUN/metrics.jsonl', line 3: 'event': \"finished\" after this run had ended");
  const std::string diverged =
      R"({"event": "diverged", "arm": "plain", "seed": 0, "epoch": 2, "step": 1, "reason": "nan"})";
  EXPECT_EQ(message_for(diverged + "\n" + finished("completed")),
            "'RUN/metrics.jsonl', line 3: 'status': \"completed\" after the run had diverged");
  EXPECT_EQ(message_for(diverged + "\n" + diverged),
            "'RUN/metrics.jsonl', line 3: 'event': \"diverged\" after this run had ended");
  EXPECT_EQ(
      message_for(R"({"event": "finished", "arm": "normal", "seed": 0, "skipped_batches": 0, "status": "completed"})"),
      at + "'status': \"completed\" without an epoch");
}

}  // namespace
}  // namespace anact::report
