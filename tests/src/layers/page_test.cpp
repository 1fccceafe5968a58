#include "layers/page.h"

#include <gtest/gtest.h>

#include <limits>

#include "network.h"
#include "page/page_check.h"

namespace anact::layers {
namespace {

using page::test::count;
using page::test::has;

std::string page_of(const std::vector<LayerRecord>& records) {
  const std::string html = probe_html({"A network", {{"Model", "mlp"}}, records});
  EXPECT_EQ(page::test::first_unbalanced(html), "");
  EXPECT_EQ(page::test::first_from_outside(html), "");
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_FALSE(has(html, ">nan<"));
  return html;
}

std::vector<std::int64_t> steps_up_to(std::int64_t count) {
  std::vector<std::int64_t> steps;
  for (std::int64_t i = 0; i < count; ++i) steps.push_back(10 * i);
  return steps;
}

TEST(ProbePage, HasItsPartsInOrder) {
  const std::string html = page_of(test::network(4, {0, 50, 100}, true));
  std::size_t last = 0;
  for (const char* part :
       {"<h1>A network</h1>", "<dt>Model</dt>\n<dd>mlp</dd>", "<dd>3 steps, from 0 to 100</dd>", "<dd>7</dd>",
        "<h2>Result</h2>", "<h2>How the signal passes through the layers</h2>", "Step 0, before the first update",
        "<h3>Step 100</h3>", "<h2>How the gradient passes through the layers</h2>",
        "<h2>The normalization property through training</h2>", "λ²ρ, forward", "λ²ρ′, backward",
        "<h2>The factor λ through training</h2>", "<h2>Dead units and updates</h2>", "<h2>Every layer at step 100</h2>",
        "<th scope=\"row\">0</th>"}) {
    const std::size_t at = html.find(part, last);
    ASSERT_NE(at, std::string::npos) << part;
    last = at;
  }
}

TEST(ProbePage, ShowsWeightedLayersWithTheActivationsThatFollow) {
  const std::string html = page_of(test::network(3, {0}, true));
  // At step 0 the third layer's output has exp(-0.2).
  EXPECT_EQ(count(html, "<title>fc0, then act0 (silu): layer 0, 1</title>"), 1u);
  EXPECT_EQ(count(html, "<title>fc2: layer 4, 0.8187</title>"), 1u) << html;
  EXPECT_EQ(count(html, "class=\"key\""), 3u + 3) << "measured and two predictions, twice";
  EXPECT_FALSE(has(html, "Not drawn")) << "the first layer has no gradient, which is no gap";
}

TEST(ProbePage, DrawsMeasurementsAsMarkersAndPredictionsAsLines) {
  const std::string html = page_of(test::network(4, {0, 100}, false));
  // 4 layers for the signal and 3 for the gradient at 2 steps, then 3 dead shares and 4 updates.
  EXPECT_EQ(count(html, "<path class=\"marker\" d=\"M"), 2u * (4 + 3) + 3 + 4 + 2);
  EXPECT_EQ(count(html, "<polyline class=\"line\" stroke-dasharray=\"6 4\""), 4u);
  EXPECT_EQ(count(html, "<polyline class=\"line\" points"), 4u);
}

TEST(ProbePage, WithoutANActHasNoLambda) {
  const std::string html = page_of(test::network(4, {0, 50}, false));
  EXPECT_FALSE(has(html, "The factor λ through training"));
  EXPECT_TRUE(has(html, "The normalization property through training"));
}

TEST(ProbePage, DrawsLambdaThroughTrainingWhereThereIsSome) {
  const std::string html = page_of(test::network(3, {0, 10}, true));
  // 1.6 at step 0, and 1.6 + 0.01 * 1.01 for the second layer at step 10.
  EXPECT_TRUE(has(html, "<title>act0 (silu), layer 1: training step 0, 1.6</title>"));
  EXPECT_TRUE(has(html, "<title>act1 (silu), layer 3: training step 10, 1.61</title>"));
  EXPECT_FALSE(has(page_of(test::network(3, {0}, true)), "The factor λ through training")) << "one step";
}

TEST(ProbePage, WithoutActivationsHasNoProperty) {
  const std::string html = page_of(test::network(1, {0, 50}, false));
  EXPECT_FALSE(has(html, "The normalization property through training"));
  EXPECT_TRUE(has(html, "<h2>Every layer at step 50</h2>"));
}

TEST(ProbePage, OfActivationsAlonePlotsThem) {
  auto records = test::network(4, {0}, true);
  std::erase_if(records, [](const LayerRecord& record) { return record.kind != LayerKind::activation; });
  EXPECT_EQ(count(page_of(records), "<title>act0 (silu): layer 1, 1</title>"), 1u);
}

TEST(ProbePage, OfNothingSaysSo) {
  const std::string html = page_of({});
  EXPECT_TRUE(has(html, "No step was measured."));
  EXPECT_FALSE(has(html, "<svg"));
  EXPECT_TRUE(has(html, "<dd>mlp</dd>"));
}

TEST(ProbePage, ThinsManySteps) {
  const std::string few = page_of(test::network(3, steps_up_to(60), true));
  EXPECT_FALSE(has(few, "are shown, evenly chosen"));
  const std::string html = page_of(test::network(51, steps_up_to(201), true));
  EXPECT_TRUE(has(html, "Of 201 measured steps, 60 are shown, evenly chosen."));
  EXPECT_TRUE(has(html, "Of 201 measured steps, 200 are drawn, evenly chosen."));
  EXPECT_EQ(count(html, "<title>act0 (silu), layer 1, training step 2000: "), 2u) << "the last step is among them";
  EXPECT_EQ(count(html, ", training step "), 2u * 60 * 50);
  EXPECT_EQ(count(html, "class=\"chart thin\""), 1u);
}

TEST(ProbePage, MarksWherePredictionsAreOffByMoreThanTwo) {
  auto records = test::network(4, {0}, true);
  records[2].output.second_moment = 2.5 * records[2].predicted_second_moment;
  records[4].output.second_moment = 1.9 * records[4].predicted_second_moment;
  records[6].input_gradient.second_moment = 0.4 * records[6].predicted_gradient;
  const std::string html = page_of(records);
  EXPECT_EQ(count(html, "<td class=\"bad\">"), 2u);
  EXPECT_TRUE(has(html, "<td class=\"bad\">▲ 2.5</td>"));
  EXPECT_TRUE(has(html, "<td>1.9</td>"));
  EXPECT_TRUE(has(html, "<td class=\"bad\">▼ 0.4</td>"));
  EXPECT_TRUE(has(html,
                  "The second moment of the output differs from the theory by more than a factor of 2 at 1 of 7 "
                  "layers: fc1."));
  EXPECT_TRUE(has(html,
                  "the gradient with respect to the input differs from the theory by more than a factor of 2 at "
                  "1 of 6 layers: fc3."));
}

TEST(ProbePage, SaysWhatTheActivationsDo) {
  auto records = test::network(3, {0}, true);
  records[1].forward_property = 0.5;
  records[3].forward_property = 2;
  EXPECT_TRUE(has(page_of(records), "λ²ρ of 2 activations lies between 0.5 and 2 (geometric mean 1)."));
}

TEST(ProbePage, BearsWhatCannotBeDrawn) {
  auto records = test::network(4, {0, 50}, true);
  records[2].output.second_moment = 0;
  records[4].output.second_moment = std::numeric_limits<double>::infinity();
  records[1].forward_property = 0;
  records[3].forward_property = std::numeric_limits<double>::infinity();
  records[5].backward_property = kNotMeasured;
  const std::string html = page_of(records);
  EXPECT_TRUE(has(html,
                  "Not drawn: 1 point at or below zero, which a logarithmic axis cannot show and 1 point that is "
                  "not finite."));
  for (LayerRecord& record : records) {
    for (const LayerColumn& column : layer_columns()) {
      if (std::holds_alternative<double>(column.get(record))) column.set(record, kNotMeasured);
    }
  }
  const std::string nothing = page_of(records);
  EXPECT_EQ(count(nothing, "No values to draw"), 4u + 2);
  EXPECT_FALSE(has(nothing, "Dead units"));
  EXPECT_FALSE(has(nothing, "The factor λ"));
}

TEST(ProbePage, EscapesNames) {
  auto records = test::network(3, {0, 50}, true);
  for (LayerRecord& record : records) record.name = "<script>\"&";
  const std::string html = probe_html({"<script>", {{"<script>", "<script>"}}, records});
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

}  // namespace
}  // namespace anact::layers
