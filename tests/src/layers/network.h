// A made-up network's records: `depth` linear layers, each but the last followed by an activation.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "anact/layer_record.h"

namespace anact::layers::test {

inline std::vector<LayerRecord> network(std::size_t depth, const std::vector<std::int64_t>& steps, bool normalized) {
  std::vector<LayerRecord> records;
  for (const std::int64_t step : steps) {
    std::int64_t layer = 0;
    const double drift = 1 + 0.001 * static_cast<double>(step);
    for (std::size_t i = 0; i < depth; ++i) {
      const auto place = static_cast<double>(i);
      LayerRecord linear;
      linear.step = step;
      linear.layer = layer++;
      linear.name = "fc" + std::to_string(i);
      linear.input = {0, 1, 1};
      linear.output = {0, drift * std::exp(-0.1 * place), drift * std::exp(-0.1 * place)};
      linear.output_gradient = {0, 1e-4, 1e-4};
      // The network's input needs no gradient.
      if (i > 0) linear.input_gradient = {0, 1e-4 * std::exp(0.05 * place), 1e-4 * std::exp(0.05 * place)};
      linear.predicted_second_moment = std::exp(-0.1 * place);
      linear.gaussian_second_moment = std::exp(-0.12 * place);
      linear.predicted_gradient = 1e-4 * std::exp(0.05 * place);
      linear.gaussian_gradient = 1e-4 * std::exp(0.03 * place);
      linear.update_ratio = 1e-3 * (1 + place);
      records.push_back(linear);
      if (i + 1 == depth) break;
      LayerRecord activation;
      activation.step = step;
      activation.layer = layer++;
      activation.name = "act" + std::to_string(i);
      activation.kind = LayerKind::activation;
      activation.activation = "silu";
      activation.normalized = normalized;
      activation.input = linear.output;
      activation.output = {0, 1, 1};
      activation.input_gradient = activation.output_gradient = {0, 1e-4, 1e-4};
      activation.forward_gain = 0.36;
      activation.backward_gain = 0.38;
      activation.lambda = normalized ? 1.6 + 0.01 * place * drift : 1;
      activation.forward_property = activation.lambda * activation.lambda * activation.forward_gain;
      activation.backward_property = activation.lambda * activation.lambda * activation.backward_gain;
      activation.output_mean = 0.2;
      if (normalized) activation.alpha = 0.01;
      activation.dead_share = 0.01 * place;
      activation.predicted_second_moment = 1;
      activation.predicted_gradient = 1e-4;
      records.push_back(activation);
    }
  }
  return records;
}

}  // namespace anact::layers::test
