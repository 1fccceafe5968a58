// PyTorch's names for the activations of the catalogue: one table for folding, conversion, the probe and Python.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "anact/activation.h"

namespace anact::nn {

// A row of the table. What PyTorch has not is left out. The names of the parameters stand in the catalogue.
struct TorchActivation {
  using Parameters = std::array<double, kMaxActivationParameters>;
  using Arguments = c10::ArrayRef<c10::IValue>;

  // A keyword of module and function with a text for its value, which tells which activation it is.
  struct Choice {
    std::string_view keyword;
    std::string_view value;
  };

  ActivationKind kind;
  // The class in Python's torch.nn.
  std::string_view module{};
  // The functions, each in torch.nn.functional, torch or torch.Tensor or in all; where it changes its argument, with
  // "_" at the end. Of several activations of one function the first is its default.
  std::array<std::string_view, 2> functions{};
  Choice choice{};
  // The operator, without "aten::"; where it changes its argument, with "_" at the end. The input is followed by the
  // parameters.
  std::string_view op{};
  // Whether its other arguments are the activation's. None: they always are.
  bool (*accepts)(Arguments arguments) = nullptr;
  // A module of torch::nn with these parameters.
  torch::nn::AnyModule (*make)(const Parameters& parameters) = nullptr;
  // The parameters of a module of torch::nn; nothing if it is another activation. None for what is not to be converted.
  std::optional<Parameters> (*read)(const torch::nn::Module& module) = nullptr;
};

// Those that PyTorch has, in the order of the catalogue.
[[nodiscard]] std::span<const TorchActivation> torch_activations();
// Null for one that PyTorch has not.
[[nodiscard]] const TorchActivation* torch_activation(ActivationKind kind);

// The activation of a module of torch::nn, or of a class derived from one; nothing if it is another kind of module, and
// for an identity.
[[nodiscard]] std::optional<Activation> activation_of(const torch::nn::Module& module);

// The activation that a call of an operator computes, by the operator's name with its namespace; nothing if it is none
// of the catalogue.
[[nodiscard]] std::optional<Activation> activation_of(std::string_view op, TorchActivation::Arguments arguments);

}  // namespace anact::nn
