#include "text/csv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

namespace anact::text {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(CsvField, QuotesOnlyWhatNeedsIt) {
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("elu(alpha=0.5)"), "elu(alpha=0.5)");
  EXPECT_EQ(csv_field("hardtanh(min_val=-2, max_val=2)"), "\"hardtanh(min_val=-2, max_val=2)\"");
  EXPECT_EQ(csv_field("a \"b\""), "\"a \"\"b\"\"\"");
  EXPECT_EQ(csv_field("a\nb"), "\"a\nb\"");
}

TEST(CsvTable, ReadsWhatTheStandardAllows) {
  const CsvTable table("a,b,c\r\n1,\"x, \"\"y\"\"\nz\",\r\n,\"\",\"q\"", "some.csv");
  EXPECT_EQ(table.header(), (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_EQ(table.size(), 2u);
  EXPECT_EQ(table.text(0, 0), "1");
  EXPECT_EQ(table.text(0, 1), "x, \"y\"\nz");
  EXPECT_EQ(table.text(0, 2), "");
  EXPECT_EQ(table.text(1, 0), "");
  EXPECT_EQ(table.text(1, 1), "");
  EXPECT_EQ(table.text(1, 2), "q");
}

TEST(CsvTable, ReadsBackEveryField) {
  for (const std::string text : {"", "plain", "a,b", "\"", "\"\"", "a\nb", "a\r\nb", "a\rb", "ends\r", " µ "}) {
    const CsvTable table("name,more\n" + csv_field(text) + ",x\ny," + csv_field(text) + "\n", "some.csv");
    EXPECT_EQ(table.text(0, 0), text);
    EXPECT_EQ(table.text(1, 1), text);
  }
}

TEST(CsvTable, OfAHeaderHasNoRows) {
  EXPECT_EQ(CsvTable("a,b", "some.csv").size(), 0u);
  EXPECT_EQ(CsvTable("a,b\n", "some.csv").size(), 0u);
}

TEST(CsvTable, ReadsValuesOfEachType) {
  const CsvTable table("a,b,c\n1e-300,-3,true\n-inf,7,false\nnan,0,true\n", "some.csv");
  EXPECT_EQ(table.number(0, 0), 1e-300);
  EXPECT_EQ(table.number(1, 0), -INFINITY);
  EXPECT_TRUE(std::isnan(table.number(2, 0)));
  EXPECT_EQ(table.integer(0, 1), -3);
  EXPECT_TRUE(table.boolean(0, 2));
  EXPECT_FALSE(table.boolean(1, 2));
}

TEST(CsvTable, NamesThePlaceOfAnError) {
  const auto reading = [](const std::string& text) { return message_of([&] { CsvTable(text, "some.csv"); }); };
  EXPECT_EQ(reading(""), "'some.csv', line 1: expected a header, found the end of the text");
  EXPECT_EQ(reading("a,b\n1,2\n3"), "'some.csv', line 3: expected 2 fields, found 1");
  EXPECT_EQ(reading("a,b\n\"1\n\",2\n3,4,5\n"), "'some.csv', line 4: expected 2 fields, found 3");
  EXPECT_EQ(reading("a,b\n1,2\n\n"), "'some.csv', line 3: expected 2 fields, found 1");
  EXPECT_EQ(reading("a\n\"b\n\n"), "'some.csv', line 2: a quotation mark is not closed");
  EXPECT_EQ(reading("a\nb\"c\n"), "'some.csv', line 2: a quotation mark within a field");
  EXPECT_EQ(reading("a\n\"b\"c\n"), "'some.csv', line 2: a quotation mark within a field");

  const CsvTable table("rho,count,whether\n1,2,true\n1.5x,2.5,yes\n,,\n", "some.csv");
  const std::string place = "'some.csv', line 3, column ";
  EXPECT_EQ(message_of([&] { (void)table.number(1, 0); }), place + "'rho': expected a number, found \"1.5x\"");
  EXPECT_EQ(message_of([&] { (void)table.integer(1, 1); }), place + "'count': expected a whole number, found \"2.5\"");
  EXPECT_EQ(message_of([&] { (void)table.boolean(1, 2); }), place + "'whether': expected true or false, found \"yes\"");
  EXPECT_EQ(message_of([&] { (void)table.number(2, 0); }),
            "'some.csv', line 4, column 'rho': expected a number, found nothing");
  EXPECT_EQ(message_of([&] { table.fail_header("what"); }), "'some.csv', line 1: what");
}

}  // namespace
}  // namespace anact::text
