// The catalogue of activations: names, parameters, value and derivative in double precision.
//
// This is the specification that every faster version is tested against.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace anact {

// One per activation of PyTorch that ANAct knows, plus relu2 (squared ReLU) and identity.
enum class ActivationKind : std::uint8_t {
  relu,
  relu6,
  leaky_relu,
  elu,
  selu,
  celu,
  gelu,
  gelu_tanh,
  silu,
  mish,
  softplus,
  softsign,
  tanh,
  sigmoid,
  logsigmoid,
  hardswish,
  hardsigmoid,
  hardtanh,
  tanhshrink,
  softshrink,
  relu2,
  identity,
};

inline constexpr std::size_t kMaxActivationParameters = 2;

// A parameter of an activation, with PyTorch's name and default.
struct ActivationParameter {
  std::string_view name;
  double default_value = 0;
};

// A row of the catalogue.
struct ActivationInfo {
  ActivationKind kind;
  std::string_view name;                            // unique; PyTorch's name in torch.nn.functional where it has one
  std::span<const std::string_view> aliases;        // other accepted names, e.g. "swish" for "silu"
  std::span<const ActivationParameter> parameters;  // in PyTorch's order
  bool smooth = false;                              // twice continuously differentiable, with the default parameters
};

// An activation with its parameters filled in. Parameters beyond the activation's own are zero.
struct Activation {
  ActivationKind kind = ActivationKind::identity;
  std::array<double, kMaxActivationParameters> parameters{};

  // f(x), to a few units in the last place of double over the whole range, subnormal results included. Infinities give
  // the limit, NaN gives NaN.
  [[nodiscard]] double value(double x) const;

  // f'(x), as accurate, except that near a zero of f' (silu, mish, gelu) the error is a few units in the last place of
  // the terms that cancel. At a kink, the one-sided value that PyTorch's backward uses. NaN gives NaN.
  [[nodiscard]] double derivative(double x) const;

  // The points where f, f' or f'' jumps, ascending; empty for a smooth activation. Softplus has one: where it becomes
  // the identity.
  [[nodiscard]] std::vector<double> kinks() const;

  // "silu", or with non-default parameters "elu(alpha=0.5)". parse_activation reads it back.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const Activation&, const Activation&) = default;
};

// Every activation of the catalogue, in the order of ActivationKind.
[[nodiscard]] std::span<const ActivationInfo> activation_catalogue();

[[nodiscard]] const ActivationInfo& activation_info(ActivationKind kind);

// The activation with its default parameters.
[[nodiscard]] Activation make_activation(ActivationKind kind);

// Reads "silu", "swish", "leaky_relu(negative_slope=0.2)", "gelu(approximate=tanh)", "elu(0.5)".
// Parameters are given by name or by position and must be finite; blanks around names and numbers are ignored.
// Throws std::invalid_argument that names the text, what was wrong, and the nearest known names.
[[nodiscard]] Activation parse_activation(std::string_view text);

// Up to `count` of `candidates`, nearest in Damerau-Levenshtein distance to `text` whatever the case, for error
// messages; only those near enough to be a plausible slip of the keyboard, or whose beginning is `text`.
[[nodiscard]] std::vector<std::string> nearest_names(std::string_view text,
                                                     std::span<const std::string_view> candidates,
                                                     std::size_t count = 3);

}  // namespace anact
