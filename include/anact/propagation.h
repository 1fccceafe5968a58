// How second moments and gradients propagate through a network: the theory of docs/math.md, sections 2 and 10.
//
// The network is a list of nodes, each of which has one output. Forward, a node maps the second moment E[x^2] of what
// enters it to that of what leaves it; backward, the mean square of the gradient with respect to its output to that
// with respect to its input. Double precision; no LibTorch.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "anact/activation.h"
#include "anact/normalization.h"

namespace anact {

// z = W x + bias with weights that are independent of x and of each other, of mean 0: a linear layer or a convolution.
//   E[z^2] = taps_in  * weight_second_moment * E[x^2] + bias_second_moment
//   E[gx^2] = taps_out * weight_second_moment * E[gz^2]
// For a linear layer taps_in is the fan-in and taps_out the fan-out. For a convolution they are the mean number of
// weights that lead into an output and out of an input, which padding and strides make smaller than the fans.
struct LinearMap {
  double taps_in = 1;
  double taps_out = 1;
  double weight_second_moment = 1;
  double bias_second_moment = 0;
};

// A map whose two gains were measured or are known: E[y^2] = forward * E[x^2], E[gx^2] = backward * E[gy^2]. `forward`
// is also taken for the gain of the part of E[x^2] that a later BatchNorm takes away.
struct MeasuredMap {
  double forward = 1;
  double backward = 1;
};

// An activation whose input is taken to be N(0, v), v being the predicted second moment. With `normalization`, an ANAct
// whose statistics are those of that input: y = scale f(x) + offset as factors() has it.
struct GaussianActivation {
  Activation activation;
  std::optional<NormalizationOptions> normalization;
  double alpha = 0;
};

// BatchNorm in training. y = scale (x - E[x]) / sqrt(Var(x) + eps) + shift, per channel:
//   E[y^2] = scale_second_moment * c / (c + eps) + shift_second_moment
//   E[gx^2] = scale_second_moment / (c + eps) * E[gy^2]
// with c the variance of what enters, within a channel and over the batch. It is the second moment less the part that
// is common to all samples, which propagate() follows from one BatchNorm to the next; what enters the network is taken
// to have none. It leaves out that the gradient is projected away from the batch's mean and scale, which is of the
// order of one over the batch.
struct BatchNormMap {
  double scale_second_moment = 1;
  double shift_second_moment = 0;
  double eps = 1e-5;
};

// The sum of all inputs, which are taken to be uncorrelated; with one input, a copy. The gradient goes to each input as
// it is.
struct Sum {};

struct PropagationNode {
  using Map = std::variant<LinearMap, MeasuredMap, GaussianActivation, BatchNormMap, Sum>;
  // Earlier nodes whose outputs enter; kNetworkInput for what enters the network. One, but for Sum.
  std::vector<std::size_t> inputs;
  Map map;
  // E[x^2] of what enters as it was measured, from which propagate_anew() goes on where the theory arrives at nothing.
  std::optional<double> measured_input = std::nullopt;
};
inline constexpr std::size_t kNetworkInput = static_cast<std::size_t>(-1);

// Of one node.
struct Propagation {
  double second_moment = 0;   // E[y^2] of its output
  double gradient = 0;        // E[gy^2]: of its output, all its uses together, which are taken to be uncorrelated
  double input_gradient = 0;  // E[gx^2]: what this node alone passes back to (each of) its inputs
};

// Walks the network forward from `input_second_moment`, and backward from `output_gradient`, the mean square of the
// gradient with respect to the last node's output. A node that leads nowhere has gradient 0.
// Throws std::invalid_argument for a node whose inputs do not come before it or are of the wrong number, for an empty
// list, and for a negative or non-finite second moment, gradient or factor, given or arrived at, naming the node.
// An activation costs a tenth of a millisecond; one that a BatchNorm follows, where what enters has a common part, some
// tens of them.
[[nodiscard]] std::vector<Propagation> propagate(std::span<const PropagationNode> network, double input_second_moment,
                                                 double output_gradient);

// The same, without an error for numbers: what is negative or not finite, given or arrived at, is NaN in the result,
// with what follows from it. A node that has a measured_input begins anew from that, so that what is not known of one
// part of a network does not reach the others; a measured backward factor holds whatever enters. Throws
// std::invalid_argument for a list or inputs that propagate() refuses.
[[nodiscard]] std::vector<Propagation> propagate_anew(std::span<const PropagationNode> network,
                                                      double input_second_moment, double output_gradient);

// The general form for one layer x -> f -> W with n inputs and m outputs, where the weights' second moment is
// weight_second_moment and v = E[x^2]: by how much the second moment of the pre-activations is multiplied from one
// layer to the next, and by how much the gradient's going back (docs/math.md, section 10). Throws std::invalid_argument
// for what propagate() refuses, and for a second moment of 0.
struct Growth {
  double forward = 1;   // n weight_second_moment E[y^2] / v
  double backward = 1;  // m weight_second_moment E[(dy/dx)^2]
};
[[nodiscard]] Growth layer_growth(double inputs, double outputs, double weight_second_moment,
                                  const GaussianActivation& activation, double input_second_moment = 1);

}  // namespace anact
