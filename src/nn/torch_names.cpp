#include "nn/torch_names.h"

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace anact::nn {
namespace {

namespace plain = torch::nn;

using Module = plain::Module;
using AnyModule = plain::AnyModule;
using Parameters = TorchActivation::Parameters;
using Arguments = TorchActivation::Arguments;

template <class Holder>
AnyModule make(const Parameters&) {
  return AnyModule(Holder());
}

template <class Holder>
std::optional<Parameters> read(const Module& module) {
  if (module.as<Holder>() == nullptr) return std::nullopt;
  return Parameters{};
}

// By its options.
template <class Holder, class Read>
std::optional<Parameters> read(const Module& module, Read read) {
  const auto* typed = module.as<Holder>();
  if (typed == nullptr) return std::nullopt;
  return read(typed->options);
}

std::optional<Parameters> read_gelu(const Module& module, std::string_view approximate) {
  const auto* gelu = module.as<plain::GELU>();
  if (gelu == nullptr || (gelu->options.approximate() == "tanh") != (approximate == "tanh")) return std::nullopt;
  return Parameters{};
}

double to_double(const c10::IValue& value) { return value.toScalar().toDouble(); }

constexpr std::array<TorchActivation, 21> kTable{{
    {.kind = ActivationKind::relu,
     .module = "ReLU",
     .functions = {"relu"},
     .op = "relu",
     .make = make<plain::ReLU>,
     .read = read<plain::ReLU>},
    {.kind = ActivationKind::relu6,
     .module = "ReLU6",
     .functions = {"relu6"},
     .op = "relu6",
     .make = make<plain::ReLU6>,
     .read = read<plain::ReLU6>},
    {.kind = ActivationKind::leaky_relu,
     .module = "LeakyReLU",
     .functions = {"leaky_relu"},
     .op = "leaky_relu",
     .make =
         [](const Parameters& p) {
           return AnyModule(plain::LeakyReLU(plain::LeakyReLUOptions().negative_slope(p[0])));
         },
     .read =
         [](const Module& module) {
           return read<plain::LeakyReLU>(module, [](const auto& o) { return Parameters{o.negative_slope()}; });
         }},
    {.kind = ActivationKind::elu,
     .module = "ELU",
     .functions = {"elu"},
     .op = "elu",
     .accepts = [](Arguments a) { return to_double(a[2]) == 1 && to_double(a[3]) == 1; },
     .make = [](const Parameters& p) { return AnyModule(plain::ELU(plain::ELUOptions().alpha(p[0]))); },
     .read =
         [](const Module& module) {
           return read<plain::ELU>(module, [](const auto& o) { return Parameters{o.alpha()}; });
         }},
    {.kind = ActivationKind::selu,
     .module = "SELU",
     .functions = {"selu"},
     .op = "selu",
     .make = make<plain::SELU>,
     .read = read<plain::SELU>},
    {.kind = ActivationKind::celu,
     .module = "CELU",
     .functions = {"celu"},
     .op = "celu",
     .make = [](const Parameters& p) { return AnyModule(plain::CELU(plain::CELUOptions().alpha(p[0]))); },
     .read =
         [](const Module& module) {
           return read<plain::CELU>(module, [](const auto& o) { return Parameters{o.alpha()}; });
         }},
    {.kind = ActivationKind::gelu,
     .module = "GELU",
     .functions = {"gelu"},
     .choice = {"approximate", "none"},
     .op = "gelu",
     .accepts = [](Arguments a) { return a[1].toStringRef() == "none"; },
     .make = make<plain::GELU>,
     .read = [](const Module& module) { return read_gelu(module, "none"); }},
    {.kind = ActivationKind::gelu_tanh,
     .module = "GELU",
     .functions = {"gelu"},
     .choice = {"approximate", "tanh"},
     .op = "gelu",
     .accepts = [](Arguments a) { return a[1].toStringRef() == "tanh"; },
     .make = [](const Parameters&) { return AnyModule(plain::GELU(plain::GELUOptions().approximate("tanh"))); },
     .read = [](const Module& module) { return read_gelu(module, "tanh"); }},
    {.kind = ActivationKind::silu,
     .module = "SiLU",
     .functions = {"silu"},
     .op = "silu",
     .make = make<plain::SiLU>,
     .read = read<plain::SiLU>},
    {.kind = ActivationKind::mish,
     .module = "Mish",
     .functions = {"mish"},
     .op = "mish",
     .make = make<plain::Mish>,
     .read = read<plain::Mish>},
    {.kind = ActivationKind::softplus,
     .module = "Softplus",
     .functions = {"softplus"},
     .op = "softplus",
     .make =
         [](const Parameters& p) {
           return AnyModule(plain::Softplus(plain::SoftplusOptions().beta(p[0]).threshold(p[1])));
         },
     .read =
         [](const Module& module) {
           return read<plain::Softplus>(module, [](const auto& o) { return Parameters{o.beta(), o.threshold()}; });
         }},
    {.kind = ActivationKind::softsign,
     .module = "Softsign",
     .functions = {"softsign"},
     .make = make<plain::Softsign>,
     .read = read<plain::Softsign>},
    {.kind = ActivationKind::tanh,
     .module = "Tanh",
     .functions = {"tanh"},
     .op = "tanh",
     .make = make<plain::Tanh>,
     .read = read<plain::Tanh>},
    {.kind = ActivationKind::sigmoid,
     .module = "Sigmoid",
     .functions = {"sigmoid", "special.expit"},
     .op = "sigmoid",
     .make = make<plain::Sigmoid>,
     .read = read<plain::Sigmoid>},
    {.kind = ActivationKind::logsigmoid,
     .module = "LogSigmoid",
     .functions = {"logsigmoid"},
     .op = "log_sigmoid",
     .make = make<plain::LogSigmoid>,
     .read = read<plain::LogSigmoid>},
    // torch::nn has no module of the next two.
    {.kind = ActivationKind::hardswish, .module = "Hardswish", .functions = {"hardswish"}, .op = "hardswish"},
    {.kind = ActivationKind::hardsigmoid, .module = "Hardsigmoid", .functions = {"hardsigmoid"}, .op = "hardsigmoid"},
    {.kind = ActivationKind::hardtanh,
     .module = "Hardtanh",
     .functions = {"hardtanh"},
     .op = "hardtanh",
     .make =
         [](const Parameters& p) {
           return AnyModule(plain::Hardtanh(plain::HardtanhOptions().min_val(p[0]).max_val(p[1])));
         },
     .read =
         [](const Module& module) {
           return read<plain::Hardtanh>(module, [](const auto& o) { return Parameters{o.min_val(), o.max_val()}; });
         }},
    {.kind = ActivationKind::tanhshrink,
     .module = "Tanhshrink",
     .functions = {"tanhshrink"},
     .make = make<plain::Tanhshrink>,
     .read = read<plain::Tanhshrink>},
    {.kind = ActivationKind::softshrink,
     .module = "Softshrink",
     .functions = {"softshrink"},
     .op = "softshrink",
     .make = [](const Parameters& p) { return AnyModule(plain::Softshrink(p[0])); },
     .read =
         [](const Module& module) {
           return read<plain::Softshrink>(module, [](const auto& o) { return Parameters{o.lambda()}; });
         }},
    // A placeholder more often than an activation, so it is not converted.
    {.kind = ActivationKind::identity, .module = "Identity", .make = make<plain::Identity>},
}};

static_assert(std::ranges::is_sorted(kTable, {}, &TorchActivation::kind));

using ByOperator = std::map<std::string, std::vector<const TorchActivation*>, std::less<>>;

const ByOperator& by_operator() {
  static const ByOperator result = [] {
    ByOperator rows;
    for (const auto& row : kTable) {
      if (row.op.empty()) continue;
      const auto name = "aten::" + std::string(row.op);
      rows[name].push_back(&row);
      rows[name + "_"].push_back(&row);
    }
    return rows;
  }();
  return result;
}

}  // namespace

std::span<const TorchActivation> torch_activations() { return kTable; }

const TorchActivation* torch_activation(ActivationKind kind) {
  const auto found = std::ranges::find(kTable, kind, &TorchActivation::kind);
  return found == kTable.end() ? nullptr : found;
}

std::optional<Activation> activation_of(const torch::nn::Module& module) {
  for (const auto& row : kTable) {
    if (row.read == nullptr) continue;
    if (const auto parameters = row.read(module)) return Activation{.kind = row.kind, .parameters = *parameters};
  }
  return std::nullopt;
}

std::optional<Activation> activation_of(std::string_view op, TorchActivation::Arguments arguments) {
  const auto found = by_operator().find(op);
  if (found == by_operator().end()) return std::nullopt;
  for (const auto* row : found->second) {
    if (row->accepts != nullptr && !row->accepts(arguments)) continue;
    Activation result{.kind = row->kind, .parameters = {}};
    for (std::size_t i = 0; i < activation_info(row->kind).parameters.size(); ++i) {
      result.parameters.at(i) = to_double(arguments[i + 1]);
    }
    return result;
  }
  return std::nullopt;
}

}  // namespace anact::nn
