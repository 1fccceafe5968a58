#include "kernels/cuda/kernels.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#define ANACT_CUDA
#include "kernels/activations-inl.h"

namespace anact::kernels::cuda {
namespace {

constexpr std::array<Kernel, 8> kKernels{Kernel::measure,      Kernel::apply,    Kernel::apply_measure, Kernel::step,
                                         Kernel::step_measure, Kernel::backward, Kernel::factors,       Kernel::update};
constexpr std::array<std::string_view, 8> kKernelNames{"measure",      "apply",    "apply_measure", "step",
                                                       "step_measure", "backward", "factors",       "update"};

// Names in kernels.cu: the template, and its arguments after the type and the activation.
struct Template {
  std::string_view name;
  std::string_view last;
};
constexpr std::array<Template, 8> kTemplates{Template{"Measure", ""}, {"Apply", ", false"}, {"Apply", ", true"},
                                             {"Step", ", false"},     {"Step", ", true"},   {"Backward", ""},
                                             {"FindFactors<0>", ""},  {"Update<0>", ""}};

struct Element {
  std::string_view name;
  std::string_view in_source;
  std::uint32_t size;
};
constexpr std::array<Element, 4> kElements{Element{"float32", "float", 4},
                                           {"float64", "double", 8},
                                           {"bfloat16", "anact::kernels::BFloat16", 2},
                                           {"float16", "anact::kernels::Float16", 2}};

const Element& element_of(ElementType type) { return kElements.at(static_cast<std::size_t>(type)); }

}  // namespace

std::span<const Kernel> all_kernels() { return kKernels; }

std::string_view to_string(Kernel kernel) { return kKernelNames.at(static_cast<std::size_t>(kernel)); }

std::string_view to_string(ElementType type) { return element_of(type).name; }

bool has_elements(Kernel kernel) { return kernel != Kernel::factors && kernel != Kernel::update; }

std::string name_expression(Kernel kernel, ElementType type, ActivationKind activation) {
  const Template& source = kTemplates.at(static_cast<std::size_t>(kernel));
  std::string name = "anact::kernels::N_CUDA::" + std::string(source.name);
  if (!has_elements(kernel)) return name;
  name += '<';
  name += element_of(type).in_source;
  name += ", " + std::to_string(static_cast<int>(activation));
  name += source.last;
  return name + '>';
}

EncodedActivation encode(const Activation& activation) {
  EncodedActivation encoded;
  const bool found = N_CUDA::Activations::Visit(activation, [&](const auto& act) {
    static_assert(sizeof(act) <= kActivationBytes && std::is_trivially_copyable_v<std::decay_t<decltype(act)>>);
    std::memcpy(encoded.bytes, &act, sizeof(act));
  });
  if (!found) {
    throw std::invalid_argument("no kernel for the activation " + std::string(activation_info(activation.kind).name));
  }
  return encoded;
}

LaunchShape launch_shape(Kernel kernel, ElementType type, std::uint64_t size, std::uint32_t multiprocessors) {
  if (!has_elements(kernel)) return {};
  const std::uint32_t element_size = element_of(type).size;
  const std::uint64_t elements_per_tile = std::uint64_t{kTile} * (16 / element_size);
  const std::uint64_t tiles = std::max<std::uint64_t>(1, size / elements_per_tile + (size % elements_per_tile != 0));
  const std::uint64_t resident = std::uint64_t{std::max(1U, multiprocessors)} * kBlocksPerMultiprocessor;
  return {.grid = static_cast<std::uint32_t>(std::min(tiles, resident)), .block = kThreads};
}

std::size_t largest_workspace_bytes(std::uint32_t multiprocessors) {
  return workspace_bytes(std::max(1U, multiprocessors) * kBlocksPerMultiprocessor);
}

std::span<const char* const> compile_options() {
  // A product and a sum are fused only where the source says so: the same bits in every kernel, and as on the CPU.
  static constexpr std::array<const char*, 4> kOptions{"--std=c++20", "--device-as-default-execution-space",
                                                       "--fmad=false", "-DANACT_CUDA"};
  return kOptions;
}

}  // namespace anact::kernels::cuda
