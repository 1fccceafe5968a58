#include "study/distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace anact::study {
namespace {

LayerRecord weighted(std::int64_t step, double output, double gradient) {
  LayerRecord record;
  record.step = step;
  record.kind = LayerKind::linear;
  record.output.second_moment = output;
  record.output_gradient.second_moment = gradient;
  return record;
}

LayerRecord activation(std::int64_t step, double forward, double backward) {
  LayerRecord record;
  record.step = step;
  record.kind = LayerKind::activation;
  record.forward_property = forward;
  record.backward_property = backward;
  return record;
}

TEST(Distance, IsTheMeanOverLayersThenSteps) {
  const std::vector<LayerRecord> records{
      weighted(0, 1, 8),
      activation(0, 2, 0.5),
      weighted(0, 4, 2),
      activation(0, 0.5, 1),
      weighted(0, 2, 2),
      // A step with other values, and with a dead layer, which is left out.
      weighted(5, 1, 1),
      activation(5, 1, 0),
      weighted(5, 1, 1),
  };
  const auto distance = distance_of(records);
  const double log2 = std::log(2.0);
  EXPECT_NEAR(distance.forward_property, (log2 + 0) / 2, 1e-15);
  EXPECT_NEAR(distance.backward_property, log2 / 2, 1e-15);  // (log 2 + 0)/2 in step 0, nothing in step 5
  EXPECT_NEAR(distance.forward_growth, ((2 * log2 + log2) / 2 + 0) / 2, 1e-15);
  EXPECT_NEAR(distance.backward_growth, ((2 * log2 + 0) / 2 + 0) / 2, 1e-15);
}

TEST(Distance, OfNothingIsNotMeasured) {
  EXPECT_TRUE(std::isnan(distance_of({}).forward_property));
  EXPECT_TRUE(std::isnan(distance_of(std::vector<LayerRecord>{weighted(0, 1, 1)}).forward_growth));
}

}  // namespace
}  // namespace anact::study
