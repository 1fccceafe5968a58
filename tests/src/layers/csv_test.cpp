#include "layers/csv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

namespace anact::layers {
namespace {

std::string header() {
  std::string text;
  for (const LayerColumn& column : layer_columns()) text += (text.empty() ? "" : ",") + std::string(column.name);
  return text + "\n";
}

// A row that has these values, and nothing where it may be empty.
std::string row_with(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string row;
  for (const LayerColumn& column : layer_columns()) {
    std::string field;
    if (column.name == "step" || column.name == "layer") field = "0";
    if (column.name == "kind") field = "linear";
    if (column.name == "normalized") field = "false";
    for (const auto& [name, value] : values) {
      if (name == column.name) field = value;
    }
    row += field + ",";
  }
  row.back() = '\n';
  return row;
}

std::string message_of(const std::string& text) {
  try {
    (void)parse_layer_csv(text, "probe.csv");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// Equal, NaN to NaN, and zeros by their sign.
void expect_same(const LayerRecord& one, const LayerRecord& other) {
  for (const LayerColumn& column : layer_columns()) {
    const auto a = column.get(one), b = column.get(other);
    if (const double* x = std::get_if<double>(&a)) {
      const double y = std::get<double>(b);
      EXPECT_TRUE(std::isnan(*x) ? std::isnan(y) : *x == y && std::signbit(*x) == std::signbit(y))
          << column.name << ": " << *x << " and " << y;
    } else {
      EXPECT_EQ(a, b) << column.name;
    }
  }
}

TEST(LayerCsv, IsAHeaderForNoRecords) {
  EXPECT_EQ(layer_csv({}), header());
  EXPECT_TRUE(parse_layer_csv(header(), "probe.csv").empty());
}

TEST(LayerCsv, WritesARowARecord) {
  LayerRecord record;
  record.step = 50;
  record.layer = 3;
  record.name = "act, 1";
  record.kind = LayerKind::activation;
  record.activation = "elu(alpha=0.5)";
  record.normalized = true;
  record.lambda = 0.1;
  const std::string csv = layer_csv(std::vector{record});
  EXPECT_EQ(csv, header() + row_with({{"step", "50"},
                                      {"layer", "3"},
                                      {"name", "\"act, 1\""},
                                      {"kind", "activation"},
                                      {"activation", "elu(alpha=0.5)"},
                                      {"normalized", "true"},
                                      {"lambda", "0.1"}}));
}

TEST(LayerCsv, IsReadBackToTheSameBits) {
  const std::vector<double> extremes = {5e-324,
                                        std::numeric_limits<double>::min(),
                                        std::numeric_limits<double>::max(),
                                        -std::numeric_limits<double>::max(),
                                        std::numeric_limits<double>::infinity(),
                                        -std::numeric_limits<double>::infinity(),
                                        kNotMeasured,
                                        -0.0,
                                        0.1,
                                        1 + std::numeric_limits<double>::epsilon(),
                                        2.0 / 3,
                                        9007199254740993.0};
  std::vector<LayerRecord> records;
  for (std::size_t shift = 0; shift < extremes.size(); ++shift) {
    LayerRecord record;
    record.step = std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(shift);
    record.layer = static_cast<std::int64_t>(shift);
    record.name = std::vector<std::string>{"", "layer1.0.conv1", "a,b", "\"quoted\"", "two\nlines", "µ\r"}[shift % 6];
    record.kind = static_cast<LayerKind>(shift % 4);
    record.normalized = shift % 2 == 1;
    std::size_t i = shift;
    for (const LayerColumn& column : layer_columns()) {
      if (std::holds_alternative<double>(column.get(record))) column.set(record, extremes[i++ % extremes.size()]);
    }
    records.push_back(record);
  }
  const auto read = parse_layer_csv(layer_csv(records), "probe.csv");
  ASSERT_EQ(read.size(), records.size());
  for (std::size_t i = 0; i < records.size(); ++i) expect_same(records[i], read[i]);
}

TEST(LayerCsv, IsReadInAnyOrderOfTheColumns) {
  std::string names, values;
  const auto columns = layer_columns();
  for (std::size_t i = columns.size(); i-- > 0;) {
    const std::string_view name = columns[i].name;
    names += std::string(name) + (i > 0 ? "," : "\n");
    values += std::string(name == "kind"                       ? "convolution"
                          : name == "normalized"               ? "true"
                          : name == "step" || name == "layer"  ? "7"
                          : name == "name" || name == "lambda" ? "2"
                                                               : "") +
              (i > 0 ? "," : "\n");
  }
  const auto records = parse_layer_csv(names + values, "probe.csv");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].layer, 7);
  EXPECT_EQ(records[0].name, "2");
  EXPECT_EQ(records[0].lambda, 2);
  EXPECT_EQ(records[0].kind, LayerKind::convolution);
  EXPECT_TRUE(records[0].normalized);
  EXPECT_TRUE(std::isnan(records[0].alpha));
}

TEST(LayerCsv, NamesWhatIsWrongWithTheHeader) {
  EXPECT_EQ(message_of(""), "'probe.csv', line 1: expected a header, found the end of the text");
  std::string unknown = header();
  unknown.replace(unknown.find("alpha"), 5, "omega");
  EXPECT_EQ(message_of(unknown), "'probe.csv', line 1: unknown column 'omega'; expected the columns of a probe's CSV");
  std::string twice = header();
  twice.replace(twice.find("alpha"), 5, "rho");
  twice.replace(twice.find("rho"), 3, "lambda");
  EXPECT_EQ(message_of(twice), "'probe.csv', line 1: a second column 'lambda'");
  std::string missing = header();
  missing.erase(missing.find("alpha,"), 6);
  EXPECT_EQ(message_of(missing), "'probe.csv', line 1: expected a column 'alpha', which is missing");
}

TEST(LayerCsv, NamesTheLineAndTheColumn) {
  const std::string good = header() + row_with({});
  EXPECT_EQ(message_of(good), "nothing was thrown");
  EXPECT_EQ(message_of(good + "1,2,fc"),
            "'probe.csv', line 3: expected " + std::to_string(layer_columns().size()) + " fields, found 3");
  const std::string at = "'probe.csv', line 3, column ";
  EXPECT_EQ(message_of(good + row_with({{"lambda", "fast"}})), at + "'lambda': expected a number, found \"fast\"");
  EXPECT_EQ(message_of(good + row_with({{"lambda", "1.5 "}})), at + "'lambda': expected a number, found \"1.5 \"");
  EXPECT_EQ(message_of(good + row_with({{"step", "1.5"}})), at + "'step': expected a whole number, found \"1.5\"");
  EXPECT_EQ(message_of(good + row_with({{"layer", ""}})), at + "'layer': expected a whole number, found nothing");
  EXPECT_EQ(message_of(good + row_with({{"normalized", "1"}})),
            at + "'normalized': expected true or false, found \"1\"");
  EXPECT_EQ(message_of(good + row_with({{"kind", "pooling"}})),
            at + "'kind': unknown kind of layer \"pooling\"; expected one of linear, convolution, normalization, "
                 "activation");
}

}  // namespace
}  // namespace anact::layers
