// A fixture that runs each test under every instruction set of this processor, and the kinds and inputs to test with.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace anact::kernels {

class EveryInstructionSet : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_instruction_set(GetParam()); }
  void TearDown() override { use_instruction_set(""); }
};

#define ANACT_EVERY_INSTRUCTION_SET(Fixture)                                      \
  INSTANTIATE_TEST_SUITE_P(Every, Fixture, testing::ValuesIn(instruction_sets()), \
                           [](const auto& info) { return info.param; })

// Every activation with a kernel, with its default parameters and with others.
inline std::vector<Activation> activations() {
  std::vector<Activation> all;
  for (const auto& info : activation_catalogue()) {
    if (has_kernel(info.kind)) all.push_back(make_activation(info.kind));
  }
  for (const char* text : {"leaky_relu(0.2)", "leaky_relu(-0.5)", "elu(0.5)", "elu(-2)", "celu(2)", "celu(-1)",
                           "softplus(2, 5)", "softplus(-1.5)", "hardtanh(-2, 0.5)", "softshrink(0)"}) {
    all.push_back(parse_activation(text));
  }
  return all;
}

inline std::vector<float> normal_draws(std::size_t size, float mean = 0, float deviation = 1) {
  std::mt19937 generator(static_cast<std::uint32_t>(size));
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> x(size);
  for (float& value : x) value = normal(generator);
  return x;
}

}  // namespace anact::kernels
