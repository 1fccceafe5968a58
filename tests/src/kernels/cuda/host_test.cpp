// What the host knows of the kernels: names, shapes, sources.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "kernels/cuda/kernels.h"

namespace anact::kernels::cuda {
namespace {

TEST(CudaHost, NamesAreThoseOfTheSource) {
  EXPECT_EQ(name_expression(Kernel::apply_measure, ElementType::bfloat16, ActivationKind::silu),
            "anact::kernels::N_CUDA::Apply<anact::kernels::BFloat16, 8, true>");
  EXPECT_EQ(name_expression(Kernel::backward, ElementType::float64, ActivationKind::relu),
            "anact::kernels::N_CUDA::Backward<double, 0>");
  EXPECT_EQ(name_expression(Kernel::update, ElementType::float32, ActivationKind::relu),
            "anact::kernels::N_CUDA::Update<0>");
  EXPECT_EQ(to_string(Kernel::step_measure), "step_measure");
  EXPECT_EQ(to_string(ElementType::float16), "float16");
  EXPECT_EQ(all_kernels().size(), 8U);
  std::set<std::string> names;
  for (const Kernel kernel : all_kernels()) {
    names.insert(name_expression(kernel, ElementType::float32, ActivationKind::silu));
  }
  EXPECT_EQ(names.size(), all_kernels().size());
}

TEST(CudaHost, EveryActivationTravelsAsItsStruct) {
  for (const auto& info : activation_catalogue()) EXPECT_NO_THROW((void)encode(make_activation(info.kind)));
  const auto same = [](const char* a, const char* b) {
    return std::ranges::equal(encode(parse_activation(a)).bytes, encode(parse_activation(b)).bytes);
  };
  EXPECT_TRUE(same("leaky_relu(0.2)", "leaky_relu(0.2)"));
  EXPECT_FALSE(same("leaky_relu(0.2)", "leaky_relu(0.3)"));
}

TEST(CudaHost, TheGridComesOfTheSizeAndTheDeviceAlone) {
  const auto grid = [](ElementType type, std::uint64_t size, std::uint32_t multiprocessors) {
    const auto shape = launch_shape(Kernel::measure, type, size, multiprocessors);
    EXPECT_EQ(shape.block, 256U);
    return shape.grid;
  };
  EXPECT_EQ(grid(ElementType::float32, 0, 80), 1U);
  EXPECT_EQ(grid(ElementType::float32, 2048, 80), 1U);
  EXPECT_EQ(grid(ElementType::float32, 2049, 80), 2U);
  EXPECT_EQ(grid(ElementType::float16, 4097, 80), 2U);
  EXPECT_EQ(grid(ElementType::float32, 1U << 30, 80), 240U);
  EXPECT_EQ(grid(ElementType::float64, 1U << 30, 80), 240U);
  EXPECT_EQ(grid(ElementType::float32, ~std::uint64_t{0}, 132), 396U);
  EXPECT_EQ(launch_shape(Kernel::factors, ElementType::float32, 0, 80).block, 1U);
  EXPECT_EQ(workspace_bytes(240), 128 + 240 * 48U);
  EXPECT_EQ(largest_workspace_bytes(80), workspace_bytes(240));
}

TEST(CudaHost, SourcesHoldWhatTheyInclude) {
  EXPECT_EQ(std::string_view(main_source().name), "kernels/cuda/kernels.cu");
  std::set<std::string, std::less<>> names;
  for (const Source& header : headers()) EXPECT_TRUE(names.insert(header.name).second) << header.name;
  const auto expect_includes = [&](const Source& source) {
    std::string_view rest = source.text;
    EXPECT_FALSE(rest.empty()) << source.name;
    for (std::size_t at = rest.find("\n#include "); at != rest.npos; at = rest.find("\n#include ")) {
      rest.remove_prefix(at + 11);
      const auto name = rest.substr(0, rest.find_first_of("\">"));
      // The one that is for Highway.
      EXPECT_TRUE(names.contains(name) || name == "kernels/cpu/highway.h") << source.name << " includes " << name;
    }
  };
  expect_includes(main_source());
  for (const Source& header : headers()) expect_includes(header);
}

}  // namespace
}  // namespace anact::kernels::cuda
