#include "anact/layer_record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "math/message_of.h"

namespace anact {
namespace {

using Value = LayerColumn::Value;

const LayerColumn& find(std::string_view name) {
  for (const LayerColumn& column : layer_columns()) {
    if (column.name == name) return column;
  }
  throw std::invalid_argument("no column " + std::string(name));
}

// A value for the n-th column that differs from the default and from every other column's.
Value distinct(const LayerColumn& column, int n) {
  if (column.name == "kind") return std::string("convolution");
  switch (column.get(LayerRecord{}).index()) {
    case 0:
      return std::int64_t{n + 1};
    case 1:
      return n + 0.5;
    case 2:
      return "text" + std::to_string(n);
    default:
      return true;
  }
}

TEST(LayerColumns, AreTheDocumentedOnesInOrder) {
  std::vector<std::string> names;
  for (const LayerColumn& column : layer_columns()) {
    names.emplace_back(column.name);
    EXPECT_FALSE(column.help.empty()) << column.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"step",
                                             "layer",
                                             "name",
                                             "kind",
                                             "activation",
                                             "normalized",
                                             "input_mean",
                                             "input_variance",
                                             "input_second_moment",
                                             "output_mean",
                                             "output_variance",
                                             "output_second_moment",
                                             "input_gradient_mean",
                                             "input_gradient_variance",
                                             "input_gradient_second_moment",
                                             "output_gradient_mean",
                                             "output_gradient_variance",
                                             "output_gradient_second_moment",
                                             "forward_gain",
                                             "backward_gain",
                                             "lambda",
                                             "forward_property",
                                             "backward_property",
                                             "mu",
                                             "alpha",
                                             "dead_share",
                                             "fan_in",
                                             "fan_out",
                                             "weight_second_moment",
                                             "update_ratio",
                                             "predicted_second_moment",
                                             "predicted_gradient",
                                             "gaussian_second_moment",
                                             "gaussian_gradient",
                                             "unpredicted"}));
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

// Each column reads and writes a member of its own: after all are written, all still have what was written to them.
TEST(LayerColumns, ReadBackWhatWasSet) {
  LayerRecord record;
  int n = 0;
  for (const LayerColumn& column : layer_columns()) column.set(record, distinct(column, n++));
  n = 0;
  for (const LayerColumn& column : layer_columns()) {
    EXPECT_EQ(column.get(record), distinct(column, n++)) << column.name;
  }
}

TEST(LayerColumns, AreTheMembersTheyAreNamedAfter) {
  LayerRecord record;
  record.step = 3;
  record.layer = 4;
  record.name = "block.conv";
  record.kind = LayerKind::normalization;
  record.activation = "silu";
  record.normalized = true;
  record.input = {1, 2, 3};
  record.output = {4, 5, 6};
  record.input_gradient = {7, 8, 9};
  record.output_gradient = {10, 11, 12};
  record.forward_gain = 13;
  record.backward_gain = 14;
  record.lambda = 15;
  record.forward_property = 16;
  record.backward_property = 17;
  record.output_mean = 18;
  record.alpha = 19;
  record.dead_share = 20;
  record.fan_in = 21;
  record.fan_out = 22;
  record.weight_second_moment = 23;
  record.update_ratio = 24;
  record.predicted_second_moment = 25;
  record.predicted_gradient = 26;
  record.gaussian_second_moment = 27;
  record.gaussian_gradient = 28;
  record.unpredicted = "gradient: why";
  const auto get = [&](std::string_view name) { return find(name).get(record); };
  EXPECT_EQ(get("step"), Value(std::int64_t{3}));
  EXPECT_EQ(get("layer"), Value(std::int64_t{4}));
  EXPECT_EQ(get("name"), Value(std::string("block.conv")));
  EXPECT_EQ(get("kind"), Value(std::string("normalization")));
  EXPECT_EQ(get("activation"), Value(std::string("silu")));
  EXPECT_EQ(get("normalized"), Value(true));
  double expected = 0;
  for (const LayerColumn& column : layer_columns().subspan(6, 28)) {
    EXPECT_EQ(column.get(record), Value(++expected)) << column.name;
  }
  EXPECT_EQ(expected, 28);
  EXPECT_EQ(get("unpredicted"), Value(std::string("gradient: why")));
}

TEST(LayerColumns, OfADefaultRecordAreNotMeasured) {
  for (const LayerColumn& column : layer_columns().subspan(6, 28)) {
    EXPECT_TRUE(std::isnan(std::get<double>(column.get(LayerRecord{})))) << column.name;
  }
}

TEST(LayerColumns, RefuseAValueOfAnotherType) {
  const std::vector<Value> values{std::int64_t{1}, 1.5, std::string("linear"), true};
  for (const LayerColumn& column : layer_columns()) {
    LayerRecord record;
    const Value before = column.get(record);
    for (const Value& value : values) {
      if (value.index() == before.index()) continue;
      const std::string message = message_of([&] { column.set(record, value); });
      EXPECT_NE(message.find('"' + std::string(column.name) + '"'), std::string::npos) << message;
    }
    EXPECT_EQ(column.get(record).index(), before.index());
  }
  LayerRecord record;
  EXPECT_EQ(message_of([&] { find("alpha").set(record, std::int64_t{1}); }),
            "column \"alpha\" cannot hold an integer; expected a number");
  EXPECT_EQ(message_of([&] { find("step").set(record, 1.0); }),
            "column \"step\" cannot hold a number; expected an integer");
  EXPECT_EQ(message_of([&] { find("kind").set(record, true); }),
            "column \"kind\" cannot hold true or false; expected text");
  EXPECT_EQ(message_of([&] { find("normalized").set(record, std::string("true")); }),
            "column \"normalized\" cannot hold text; expected true or false");
}

TEST(LayerKind, RoundTripsAndRefusesOthers) {
  for (const LayerKind kind :
       {LayerKind::linear, LayerKind::convolution, LayerKind::normalization, LayerKind::activation}) {
    EXPECT_EQ(parse_layer_kind(to_string(kind)), kind);
  }
  EXPECT_EQ(to_string(LayerKind::convolution), "convolution");
  const std::string expected =
      "unknown kind of layer \"conv\"; expected one of linear, convolution, normalization, activation";
  EXPECT_EQ(message_of([] { (void)parse_layer_kind("conv"); }), expected);
  LayerRecord record;
  EXPECT_EQ(message_of([&] { find("kind").set(record, std::string("conv")); }), expected);
}

}  // namespace
}  // namespace anact
