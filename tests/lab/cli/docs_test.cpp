// docs/compare.md and docs/bench.md say what the program does.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

// The first two columns of the table of a document whose first heading is `heading`: the name, without its backticks,
// and the default.
std::map<std::string, std::string> table(const std::string& name, const std::string& heading) {
  std::ifstream document(source_folder() / "docs" / name);
  std::map<std::string, std::string> rows;
  const std::regex row("\\| `?([^`|]+?)`? \\| (.+?) \\|.*");
  bool inside = false;
  for (std::string line; std::getline(document, line);) {
    std::smatch match;
    if (line.starts_with("| " + heading + " |")) {
      inside = true;
    } else if (!line.starts_with("|")) {
      inside = false;
    } else if (inside && std::regex_match(line, match, row)) {
      rows[match[1]] = match[2];
    }
  }
  return rows;
}

template <class Value>
std::set<std::string> keys(const std::map<std::string, Value>& map) {
  std::set<std::string> result;
  for (const auto& [key, value] : map) result.insert(key);
  return result;
}

// Every flag of a command with its default as --help has it.
std::map<std::string, std::string> flags(const std::string& command) {
  const auto help = run({command, "--help"}).out;
  std::map<std::string, std::string> defaults;
  const std::regex option("^ +(?:-h,)?(--[a-z0-9-]+)(?: [A-Z/]+(?:=([^ ]+))?)?( |$)");
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, option) && match[1] != "--help") defaults[match[1]] = match[2];
  }
  return defaults;
}

TEST(BenchDocument, ListsTheFlagsThatThereAre) {
  const auto defaults = flags("bench");
  EXPECT_GE(defaults.size(), 10u);
  const auto documented = table("bench.md", "flag");
  EXPECT_EQ(keys(documented), keys(defaults));
  EXPECT_EQ(documented.at("--rounds"), "`" + defaults.at("--rounds") + "`");
}

TEST(TrainDocument, ListsTheFlagsThatThereAreWithTheirDefaults) {
  const auto defaults = flags("train");
  EXPECT_GE(defaults.size(), 50u);
  const auto documented = table("train.md", "flag");
  EXPECT_EQ(keys(documented), keys(defaults));
  for (const auto& [flag, value] : defaults) {
    if (flag == "--arms" || flag == "--widths") continue;  // lists, which --help shortens
    if (!value.empty()) {
      EXPECT_EQ(documented.at(flag), "`" + value + "`") << flag;
    }
  }
  // `compare` begins elsewhere and cannot go on with a run; the rest is the same.
  auto names = keys(defaults);
  names.erase("--resume");
  EXPECT_EQ(keys(flags("compare")), names);
}

TEST(TrainDocument, ListsThePresets) {
  const auto message = run({"train", "--preset", "none"}).error;
  std::set<std::string> names;
  for (const auto& [name, title] : table("train.md", "preset")) names.insert(name);
  ASSERT_FALSE(names.empty());
  std::istringstream list(message.substr(message.find("there are ") + 10));
  std::set<std::string> known;
  for (std::string name; std::getline(list, name, ',');) {
    name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return c == ' ' || c == '\n'; }), name.end());
    known.insert(name);
  }
  EXPECT_EQ(names, known);
}

TEST(CompareDocument, ListsTheSettingsThatThereAre) {
  const auto error = run({"compare", "--arms", "nsilu:no-such-setting=1"}).error;
  const auto begin = error.find("there are ");
  ASSERT_NE(begin, std::string::npos) << error;
  std::set<std::string> names;
  std::istringstream list(error.substr(begin + 10, error.size() - begin - 11));
  for (std::string name; std::getline(list, name, ',');) names.insert(name.substr(name.find_first_not_of(' ')));
  EXPECT_EQ(keys(table("compare.md", "setting")), names);
}

TEST(CompareDocument, StatesTheDefaultsOfTheSettings) {
  const TemporaryFolder folder;
  const auto result =
      run(tiny(folder / "out", {"--arms", "nsilu", "relu", "selu", "--data-path", write_digits(folder).string()}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const auto arms = nlohmann::json::parse(content_of(folder / "out" / "config.json")).at("arms");
  const auto quoted = [](const nlohmann::json& value) { return "`" + value.get<std::string>() + "`"; };
  auto rows = table("compare.md", "setting");
  const auto options = nlohmann::json::parse(run({"info", "--options", "--json"}).out);
  ASSERT_FALSE(options.empty());
  for (const auto& option : options) {
    const auto name = option.at("name").get<std::string>();
    const auto standard = option.at("default").get<std::string>();
    EXPECT_EQ(rows[name], standard == "none" ? standard : "`" + standard + "`") << name;
  }
  EXPECT_EQ(rows["init"], quoted(arms[1].at("initialization")) + "; " + quoted(arms[0].at("initialization")) +
                              " with ANAct, " + quoted(arms[2].at("initialization")) + " for selu");
}

TEST(CompareDocument, ItsExamplesAreUnderstood) {
  std::ifstream document(source_folder() / "docs" / "compare.md");
  int examples = 0;
  for (std::string line; std::getline(document, line);) {
    if (!line.starts_with("    anact compare ")) continue;
    ++examples;
    std::istringstream words(line);
    std::vector<std::string> arguments;
    for (std::string word; words >> word;) arguments.push_back(word);
    arguments.erase(arguments.begin());
    // The arms and numbers are checked before the data are looked for.
    arguments.insert(arguments.end(), {"--data-path", "/no/such/digits"});
    const auto result = run(arguments);
    EXPECT_EQ(result.exit_code, 1) << line << "\n" << result.error;
    EXPECT_TRUE(result.error.starts_with("anact: cannot open '/no/such/digits'")) << line << "\n" << result.error;
  }
  EXPECT_GE(examples, 5);
}

}  // namespace
}  // namespace anact::cli
