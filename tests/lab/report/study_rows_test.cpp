#include "report/study_rows.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "study_example.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using test::row_of;
using test::Rows;

constexpr double kInf = std::numeric_limits<double>::infinity();

std::string message_of(const std::string& text) {
  try {
    (void)parse_study_rows(text, "rows.csv");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// A row with one field replaced.
std::string good_but(std::size_t column, const std::string& value) {
  const std::string text = to_csv(Rows{}.add("silu", {0.1, 0}, {0.75}).all.front());
  const text::CsvTable table(study_header() + text, "rows.csv");
  std::vector<std::string> fields;
  for (std::size_t i = 0; i < table.header().size(); ++i) fields.push_back(i == column ? value : table.text(0, i));
  return study_header() + text::csv_row(fields);
}

TEST(StudyRows, AreReadBackAsTheyWere) {
  StudyRow row = row_of("a, \"b\"", "silu\nrelu", {0.1 / 3, 5e-4}, std::numeric_limits<std::uint64_t>::max() / 2);
  row.diverged = true;
  row.epochs = 3;
  row.steps = 1'000'000'007;
  row.train_loss = 0.125;
  row.test_accuracy = 0.75;
  row.loss_area = 1.5;
  row.forward_property = kInf;
  row.backward_growth = 1e-12;
  row.seconds = 12.5;
  row.train_losses = {2.25, 1e-7, kInf};
  row.test_accuracies = {0.5};
  const auto rows = parse_study_rows(study_header() + to_csv(row) + to_csv(row), "rows.csv");
  ASSERT_EQ(rows.size(), 2u);
  // NaN is unlike itself.
  EXPECT_TRUE(std::isnan(rows[0].validation_accuracy));
  EXPECT_TRUE(std::isnan(rows[1].backward_property));
  StudyRow read = rows[1];
  for (StudyRow* one : {&read, &row}) {
    for (auto member : {&StudyRow::train_accuracy, &StudyRow::validation_accuracy, &StudyRow::test_loss,
                        &StudyRow::backward_property, &StudyRow::forward_growth}) {
      one->*member = 0;
    }
  }
  EXPECT_EQ(read, row);
}

TEST(StudyRows, PassOverALineThatWasNotFinished) {
  const std::string line = to_csv(row_of("e", "silu", {0.1, 0}, 0));
  for (std::size_t cut = 1; cut < line.size(); cut += 7) {
    EXPECT_EQ(parse_study_rows(study_header() + line + line.substr(0, cut), "rows.csv").size(), 1u) << cut;
  }
  EXPECT_TRUE(parse_study_rows(study_header(), "rows.csv").empty());
}

TEST(StudyRows, NameThePlaceOfAnError) {
  EXPECT_EQ(message_of(""), "'rows.csv', line 1: expected a header, found the end of the text");
  EXPECT_EQ(message_of("experiment,lr\n"), "'rows.csv', line 1: column 2: expected 'arm', found 'lr'");
  EXPECT_EQ(message_of("experiment\n"), "'rows.csv', line 1: column 2: expected 'arm', found the end of the line");
  const std::string header = study_header();
  EXPECT_EQ(message_of(header.substr(0, header.size() - 1) + ",more\n"),
            "'rows.csv', line 1: column 30: expected the end of the line, found 'more'");
  EXPECT_EQ(message_of(good_but(99, "")), "nothing was thrown");
  EXPECT_EQ(message_of(good_but(99, "") + "silu,20\n"), "'rows.csv', line 3: expected 29 fields, found 2");
  const std::string at = "'rows.csv', line 2, column ";
  EXPECT_EQ(message_of(good_but(1, "")), at + "'arm': expected a text, found nothing");
  EXPECT_EQ(message_of(good_but(2, "")), at + "'lr': expected a number, found nothing");
  EXPECT_EQ(message_of(good_but(4, "-1")), at + "'seed': expected a whole number from 0 up, found \"-1\"");
  EXPECT_EQ(message_of(good_but(4, "x")), at + "'seed': expected a whole number, found \"x\"");
  EXPECT_EQ(message_of(good_but(7, "done")), at + "'status': expected completed or diverged, found \"done\"");
  EXPECT_EQ(message_of(good_but(14, "80%")), at + "'test_accuracy': expected a number, found \"80%\"");
  EXPECT_EQ(message_of(good_but(25, "1 x")),
            at + "'train_losses': expected numbers with a space between them, found \"1 x\"");
}

TEST(Tried, AreBySettingThenSeed) {
  Rows rows;
  rows.add("a", {0.1, 0.5}, {0.5, 0.7}, 4).add("a", {0.1, 0}, {0.5, kUnknown}).add("a", {0.01, 0.5}, {0.5});
  rows.add("b", {0.1, 0}, {0.1}).add("a", {0.1, 0.5}, {0.6}, 2);
  const auto all = tried(rows.all, "e", "a");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].setting, (TrialSetting{0.01, 0.5}));
  EXPECT_EQ(all[1].setting, (TrialSetting{0.1, 0}));
  EXPECT_EQ(all[1].diverged, 1u);
  EXPECT_TRUE(std::isnan(all[1].test_accuracy())) << "no mean over survivors";
  ASSERT_EQ(all[2].rows.size(), 3u);
  EXPECT_EQ(all[2].rows[0]->seed, 2u);
  EXPECT_EQ(all[2].rows[2]->seed, 5u);
  EXPECT_NEAR(all[2].test_accuracy(), 0.6, 1e-12);
  EXPECT_NEAR(all[2].validation_accuracy(), 0.58, 1e-12);
  EXPECT_TRUE(tried(rows.all, "other", "a").empty());
}

TEST(AtSeeds, KeepsTheFirst) {
  Rows rows;
  rows.add("a", {0.1, 0}, {0.5, kUnknown, 0.6, kUnknown}, 3);
  const Tried first = at_seeds(tried(rows.all, "e", "a").front(), 4, 2);
  ASSERT_EQ(first.rows.size(), 2u);
  EXPECT_EQ(first.rows[0]->seed, 4u);
  EXPECT_EQ(first.diverged, 1u);
  EXPECT_TRUE(at_seeds(first, 7, 9).rows.empty());
}

TEST(Choose, TakesTheBestOfThoseThatAreWhole) {
  Rows rows;
  rows.add("a", {0.001, 0}, {0.8, 0.8}).add("a", {0.003, 0}, {0.8, 0.8, 0.1}).add("a", {0.01, 0}, {0.9});
  rows.add("a", {0.1, 0}, {0.9, kUnknown});
  const auto chosen = [&] { return choose(tried(rows.all, "e", "a"), 0, 2); };
  EXPECT_EQ(chosen(), (TrialSetting{0.001, 0})) << "the smaller of equals";
  rows.all[0].validation_accuracy = kUnknown;
  EXPECT_EQ(chosen(), (TrialSetting{0.003, 0})) << "not one whose accuracy is not known";
  rows.add("a", {0.01, 0}, {0.9}, 1);
  EXPECT_EQ(chosen(), (TrialSetting{0.01, 0}));
  EXPECT_FALSE(choose({}, 0, 2));
}

}  // namespace
}  // namespace anact::report
