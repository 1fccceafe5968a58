// What was measured of one layer in one training step: a row of a probe's table.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace anact {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// Over all elements of a tensor.
struct Spread {
  double mean = kNotMeasured;
  double variance = kNotMeasured;       // the population variance
  double second_moment = kNotMeasured;  // E[t^2]
};

enum class LayerKind : std::uint8_t {
  linear,         // torch.nn.Linear, a matrix product with a parameter
  convolution,    // of one to three dimensions
  normalization,  // BatchNorm
  activation,     // plain or ANAct
};
[[nodiscard]] std::string_view to_string(LayerKind kind);
// Throws std::invalid_argument with the accepted names.
[[nodiscard]] LayerKind parse_layer_kind(std::string_view text);

// What does not apply to a layer, or was not to be had (a gradient without a backward pass), is kNotMeasured.
// rho, rho', lambda, mu and alpha are those of docs/math.md, section 1, of this step's batch.
struct LayerRecord {
  std::int64_t step = 0;   // training steps that were done before this one
  std::int64_t layer = 0;  // place in the order of the forward pass, from 0
  std::string name;        // path of the module or of the weight's owner in the model, "layer1.0.conv1"
  LayerKind kind = LayerKind::linear;
  std::string activation;   // as anact::Activation::to_string, or a custom one's name; empty for another kind
  bool normalized = false;  // an ANAct

  Spread input;
  Spread output;
  Spread input_gradient;   // of the loss with respect to the input, all its uses together
  Spread output_gradient;  // with respect to the output

  // Activations.
  double forward_gain = kNotMeasured;      // rho  = E[f(x)^2] / Var(x)
  double backward_gain = kNotMeasured;     // rho' = E[f'(x)^2]
  double lambda = kNotMeasured;            // the factor in force, without alpha's part; of a plain activation its scale
  double forward_property = kNotMeasured;  // lambda^2 rho
  double backward_property = kNotMeasured;  // lambda^2 rho'
  double output_mean = kNotMeasured;        // mu = E[f(x)], the column "mu"
  double alpha = kNotMeasured;              // ANAct's; not measured for a plain activation
  // The share of units (the features of a linear layer, the channels of a convolution) whose |f'(x)| is below 1e-3 for
  // every sample and place of the batch.
  double dead_share = kNotMeasured;

  // Weighted layers.
  double fan_in = kNotMeasured;
  double fan_out = kNotMeasured;
  double weight_second_moment = kNotMeasured;  // E[w^2] before the step
  double update_ratio = kNotMeasured;          // |change of the weight in this step| / |weight|, in the Frobenius norm

  // What the theory (anact/propagation.h) predicts for output.second_moment and input_gradient.second_moment: from the
  // measured gains of the activations, and from the assumption that their inputs are normally distributed.
  double predicted_second_moment = kNotMeasured;
  double predicted_gradient = kNotMeasured;
  double gaussian_second_moment = kNotMeasured;
  double gaussian_gradient = kNotMeasured;
  // Why one of them is missing beside what was measured, "gradient: …"; empty where none is, or none was asked for.
  std::string unpredicted;
};

// A column of the table, in probe.csv and in Python.
struct LayerColumn {
  using Value = std::variant<std::int64_t, double, std::string, bool>;
  std::string_view name;  // "input_mean", "output_second_moment", "forward_property", …: see docs/probe.md
  std::string_view help;  // what it is, for documents
  Value (*get)(const LayerRecord&);
  void (*set)(LayerRecord&, const Value&);
};

// Every column in the file's order: step, layer, name, kind, activation, normalized, then the measurements and what is
// said of them in the order of LayerRecord's members.
[[nodiscard]] std::span<const LayerColumn> layer_columns();

}  // namespace anact
