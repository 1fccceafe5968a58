// The operators by the CUDA kernels, on an emulated device whose memory is the CPU's: against the CPU's kernels, which
// have their own tests. And that a check of a kernel fails where the device computes something else.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <random>
#include <vector>

#include "kernels/cuda/emulated_kernels.h"
#include "ops/autograd/derivatives.h"
#include "ops/cpu/anact.h"
#include "ops/cuda/check.h"
#include "ops/cuda/kernels.h"

namespace anact::ops::cuda {
namespace {

using kernels::cuda::BackwardArguments;
using kernels::cuda::ElementType;
using kernels::cuda::FactorsArguments;
using kernels::cuda::Kernel;
using kernels::cuda::LaunchShape;
using kernels::cuda::PassArguments;
using kernels::cuda::StepArguments;
using kernels::cuda::UpdateArguments;
namespace emulation = kernels::cuda::emulation;

class EmulatedDevice final : public Device {
 public:
  [[nodiscard]] std::uint32_t multiprocessors() const override { return 1; }
  [[nodiscard]] Workspace workspace() override { return {workspace_.mutable_data_ptr(), workspace_}; }

  void launch(Kernel kernel, ElementType type, ActivationKind activation, LaunchShape shape, void* arguments) override {
    ++launches[kernel];
    const auto run = [&]<class Arguments>(void (*function)(Arguments), Arguments given) {
      const auto report = emulation::run({{emulation::launch(function, shape.grid, shape.block, given)}}, ++seed_);
      for (const auto& error : report.errors) ADD_FAILURE() << error;
    };
    const auto of = other_type ? ActivationKind::relu : activation;
    switch (kernel) {
      case Kernel::measure:
        return run(emulation::kernels_of(type, of).measure, *static_cast<PassArguments*>(arguments));
      case Kernel::apply:
        return run(emulation::kernels_of(type, of).apply, *static_cast<PassArguments*>(arguments));
      case Kernel::apply_measure:
        return run(emulation::kernels_of(type, of).apply_measure, *static_cast<PassArguments*>(arguments));
      case Kernel::step:
        return run(emulation::kernels_of(type, of).step, *static_cast<StepArguments*>(arguments));
      case Kernel::step_measure:
        return run(emulation::kernels_of(type, of).step_measure, *static_cast<StepArguments*>(arguments));
      case Kernel::backward:
        return run(emulation::kernels_of(type, of).backward, *static_cast<BackwardArguments*>(arguments));
      case Kernel::factors:
        if (idle) return;
        return run(emulation::scalar_kernels().factors, *static_cast<FactorsArguments*>(arguments));
      case Kernel::update:
        if (idle) return;
        return run(emulation::scalar_kernels().update, *static_cast<UpdateArguments*>(arguments));
    }
  }

  std::map<Kernel, int> launches;
  // What is done wrong on purpose: another function's kernels; nothing at all.
  bool other_type = false;
  bool idle = false;

 private:
  at::Tensor workspace_ = at::zeros({static_cast<std::int64_t>(kernels::cuda::largest_workspace_bytes(1))}, at::kByte);
  std::uint32_t seed_ = 0;
};

// A module's tensors.
struct Module {
  at::Tensor alpha = at::full({}, 0.3, at::kFloat);
  RunningStatistics running{at::full({}, 0.2, at::kFloat), at::full({}, 0.36, at::kFloat), at::ones({}, at::kFloat),
                            at::full({}, 0.38, at::kFloat), at::zeros({}, at::kLong)};
  at::Tensor skipped = at::zeros({}, at::kLong);

  [[nodiscard]] std::vector<at::Tensor> state() const {
    return {running.output_mean,   running.output_square,       running.input_variance,
            running.backward_gain, running.num_batches_tracked, skipped};
  }
};

void expect_near(const at::Tensor& found, const at::Tensor& expected, double relative) {
  ASSERT_EQ(found.scalar_type(), expected.scalar_type());
  ASSERT_EQ(found.strides(), expected.strides());
  EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected.to(at::kDouble), relative, relative, /*equal_nan=*/true))
      << (found.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
}

Options options_of(const std::string& text) { return parse_options(text); }

const std::vector<std::string> kOptions{
    "",
    "statistics=running",
    "statistics=batch",
    "statistics=fixed",
    "statistics=fixed:init_batch=on",
    "solution=compromise:target=input:momentum=0.1",
    "gate=0.5,2:solution=compromise:centre=off",
    "target=unit:bounds=0.5,2:learnable=off",
};

TEST(CudaOperators, AStepIsTheCpusStepByStep) {
  const auto silu = make_activation(ActivationKind::silu);
  for (const auto& text : kOptions) {
    SCOPED_TRACE(text);
    const auto options = options_of(text);
    EmulatedDevice device;
    Module mine, theirs;
    torch::manual_seed(1);
    for (int i = 0; i < 14; ++i) {
      // One in two is unlike the others; one says nothing.
      auto x = at::randn({3, 5, 7}) * (i % 4 == 3 ? 6 : 1);
      if (i == 5) x.zero_();
      const bool training = i != 8;
      const auto found = step(device, x, mine.alpha, mine.running, mine.skipped, silu, options, training);
      const auto expected = cpu::step(x, theirs.alpha, theirs.running, theirs.skipped, silu, options, training);
      expect_near(found.output, expected.output, 1e-5);
      expect_near(found.map, expected.map, 1e-5);
      const auto state = mine.state(), other = theirs.state();
      for (std::size_t j = 0; j < state.size(); ++j) expect_near(state[j], other[j], 1e-5);
    }
  }
}

// One launch once the start is over; and each kernel is among those that are asked for.
TEST(CudaOperators, AStepLaunchesWhatItSays) {
  const auto silu = make_activation(ActivationKind::silu);
  for (const auto& text : kOptions) {
    for (const bool training : {true, false}) {
      SCOPED_TRACE(text + (training ? ", training" : ""));
      const auto options = options_of(text);
      EmulatedDevice device;
      Module module;
      (void)step(device, at::randn({40}), module.alpha, module.running, module.skipped, silu, options, training);
      std::map<Kernel, int> expected;
      for (const auto kernel : kernels_of_step(options, training)) expected[kernel] = 1;
      EXPECT_EQ(device.launches, expected);
    }
  }
}

TEST(CudaOperators, LayoutsTypesAndSizes) {
  EmulatedDevice device;
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const double relative = type == at::kDouble ? 1e-12 : type == at::kFloat ? 1e-5 : 2e-2;
    const auto base = at::randn({4, 6, 5, 3}).to(type);
    for (const auto& x :
         {base, base.to(at::kFloat).to(type).contiguous(at::MemoryFormat::ChannelsLast), base.transpose(0, 3),
          base.slice(1, 1, 4), base.slice(3, 0, 0), base.select(0, 0).select(0, 0)}) {
      for (const auto kind : {ActivationKind::gelu, ActivationKind::relu}) {
        const auto activation = make_activation(kind);
        Module module;
        const auto map = at::tensor({0.75, -0.25, 0.125}, at::kDouble);
        const auto found = apply(device, x, map, activation, true);
        const auto expected = ops::apply(x, map, activation, true);
        expect_near(std::get<0>(found), std::get<0>(expected), relative);
        expect_near(std::get<1>(found), std::get<1>(expected), 1e-4);
        expect_near(measure(device, x, activation, std::nullopt), std::get<1>(expected), 1e-4);
        const auto g = at::randn(x.sizes()).to(type);
        const auto [dx, sums] = apply_backward(device, g, x, map, activation);
        const auto [dx_there, sums_there] = ops::apply_backward(g, x, map, activation);
        expect_near(dx, dx_there, relative);
        expect_near(sums, sums_there, 1e-4);
        const auto [again, grad_alpha] = step_backward(device, g, x, module.alpha, map, activation);
        const auto [there, grad_alpha_there] = cpu::step_backward(g, x, module.alpha, map, activation);
        expect_near(again, there, relative);
        expect_near(grad_alpha, grad_alpha_there, 1e-4);
      }
    }
  }
}

TEST(CudaOperators, FactorsAndUpdateAreTheCpus) {
  const auto moments = at::tensor({100.0, 0.1, 120.0, 25.0, 40.0, 45.0}, at::kDouble);
  for (const auto& text : kOptions) {
    SCOPED_TRACE(text);
    const auto options = options_of(text);
    EmulatedDevice device;
    Module mine, theirs;
    for (int i = 0; i < 12; ++i) {
      const auto map = factors(device, mine.alpha, mine.running, moments, options);
      expect_near(map, ops::factors(theirs.alpha, theirs.running, moments, options), 1e-6);
      expect_near(factors(device, mine.alpha, mine.running, std::nullopt, options),
                  ops::factors(theirs.alpha, theirs.running, std::nullopt, options), 1e-6);
      update(device, mine.running, mine.skipped, moments, mine.alpha, map, options);
      ops::update(theirs.running, theirs.skipped, moments, theirs.alpha, map, options);
      const auto state = mine.state(), other = theirs.state();
      for (std::size_t j = 0; j < state.size(); ++j) expect_near(state[j], other[j], 1e-6);
    }
  }
}

// Every kernel agrees with the plain version, for every activation and type.
TEST(CudaCheck, PassesForEveryKernel) {
  for (const auto& info : activation_catalogue()) {
    for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      for (const auto kernel : kernels::cuda::all_kernels()) {
        EmulatedDevice device;
        EXPECT_EQ(difference(device, at::kCPU, kernel, type, info.kind), "")
            << info.name << " " << kernels::cuda::to_string(kernel) << " " << at::toString(type);
        EXPECT_GE(device.launches[kernel], 1);
      }
    }
  }
}

// A device that computes another function, or nothing, is found out.
TEST(CudaCheck, FailsWhereTheDeviceComputesSomethingElse) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const auto kernel : kernels::cuda::all_kernels()) {
      EmulatedDevice good;
      EXPECT_EQ(difference(good, at::kCPU, kernel, type, ActivationKind::silu), "");
      EmulatedDevice bad;
      bad.other_type = true;
      bad.idle = true;
      EXPECT_NE(difference(bad, at::kCPU, kernel, type, ActivationKind::silu), "") << kernels::cuda::to_string(kernel);
    }
  }
}

}  // namespace
}  // namespace anact::ops::cuda
