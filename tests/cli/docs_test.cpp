// docs/compare.md says what the program does.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

// The first two columns of the table whose first heading is `heading`: the name, without its backticks, and the
// default.
std::map<std::string, std::string> table(const std::string& heading) {
  std::ifstream document(source_folder() / "docs" / "compare.md");
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

TEST(CompareDocument, ListsTheFlagsThatThereAreWithTheirDefaults) {
  const auto help = run({"compare", "--help"}).out;
  std::map<std::string, std::string> defaults;
  const std::regex option("^ +(?:-h,)?(--[a-z-]+)(?: [A-Z]+(?:=([^ ]+))?)?( |$)");
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, option) && match[1] != "--help") defaults[match[1]] = match[2];
  }
  const auto documented = table("flag");
  EXPECT_EQ(keys(documented), keys(defaults)) << help;
  for (const auto& [flag, value] : defaults) {
    if (flag != "--arms" && !value.empty()) {
      EXPECT_EQ(documented.at(flag), "`" + value + "`") << flag;
    }
  }
}

TEST(CompareDocument, ListsTheSettingsThatThereAre) {
  const auto error = run({"compare", "--arms", "nsilu:no-such-setting=1"}).error;
  const auto begin = error.find("there are ");
  ASSERT_NE(begin, std::string::npos) << error;
  std::set<std::string> names;
  std::istringstream list(error.substr(begin + 10, error.size() - begin - 11));
  for (std::string name; std::getline(list, name, ',');) names.insert(name.substr(name.find_first_not_of(' ')));
  EXPECT_EQ(keys(table("setting")), names);
}

TEST(CompareDocument, StatesTheDefaultsOfTheSettings) {
  const TemporaryFolder folder;
  const auto result = run(tiny(folder / "out", {"--arms", "nsilu", "relu", "--data", write_digits(folder).string()}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const auto arms = nlohmann::json::parse(content_of(folder / "out" / "config.json")).at("arms");
  const auto quoted = [](const nlohmann::json& value) { return "`" + value.get<std::string>() + "`"; };
  auto rows = table("setting");
  const auto& anact = arms[0].at("anact");
  for (const char* name : {"statistics", "solution", "target", "gain"}) EXPECT_EQ(rows[name], quoted(anact.at(name)));
  for (const char* name : {"centre", "learnable"}) EXPECT_EQ(rows[name], anact.at(name).get<bool>() ? "`on`" : "`off`");
  EXPECT_EQ(rows["momentum"], "`" + anact.at("momentum").dump() + "`");
  EXPECT_EQ(rows["gate"], anact.contains("gate") ? "" : "none");
  std::ostringstream bounds;
  bounds << "`" << anact.at("lambda_min").get<double>() << "," << anact.at("lambda_max").get<double>() << "`";
  EXPECT_EQ(rows["bounds"], bounds.str());
  EXPECT_EQ(rows["norm"],
            quoted(arms[1].at("normalization")) + ", with an `n` in front " + quoted(arms[0].at("normalization")));
  EXPECT_EQ(rows["init"], quoted(arms[1].at("initialization")) + "; " + quoted(arms[0].at("initialization")) +
                              " with ANAct and for selu");
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
    arguments.insert(arguments.end(), {"--data", "/no/such/digits"});
    const auto result = run(arguments);
    EXPECT_EQ(result.exit_code, 1) << line << "\n" << result.error;
    EXPECT_TRUE(result.error.starts_with("anact: cannot open '/no/such/digits'")) << line << "\n" << result.error;
  }
  EXPECT_GE(examples, 5);
}

}  // namespace
}  // namespace anact::cli
