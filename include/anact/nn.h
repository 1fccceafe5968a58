// The module: an activation that normalizes itself.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anact/activation.h"
#include "anact/custom.h"
#include "anact/normalization.h"
#include "anact/options.h"

namespace anact::nn {

// Options of ANAct. The defaults are those that train deep networks best; docs/choices.md has the evidence, and what
// the paper's are.
struct ANActOptions {
  using Interval = anact::Interval;

  // The activation, as parse_activation reads it: "silu", "elu(alpha=0.5)". Throws std::invalid_argument if unknown.
  /* implicit */ ANActOptions(const std::string& activation = "silu") : activation_(parse_activation(activation)) {}
  /* implicit */ ANActOptions(const char* activation) : ANActOptions(std::string(activation)) {}
  /* implicit */ ANActOptions(const Activation& activation) : activation_(activation) {}
  // A function of one's own with its derivative: ANActOptions({"square_relu", f, df}).
  /* implicit */ ANActOptions(CustomActivation custom) : custom_(std::move(custom)) {}

  TORCH_ARG(Activation, activation);
  // Takes the place of `activation`, which then has no meaning. Runs in plain ATen, slower than the activations of the
  // catalogue. Copies of a module share what its functions refer to; a saved module does not hold them.
  TORCH_ARG(std::optional<CustomActivation>, custom) = std::nullopt;

 public:
  // The options of anact/options.h, each as TORCH_ARG would have it: momentum(0.1) sets, momentum() gets.
#define ANACT_OPTION_ARGUMENT(type, name, standard, help) \
  ANActOptions& name(type value) {                        \
    values_.name = std::move(value);                      \
    return *this;                                         \
  }                                                       \
  [[nodiscard]] const type& name() const { return values_.name; }
  ANACT_OPTIONS(ANACT_OPTION_ARGUMENT)
#undef ANACT_OPTION_ARGUMENT

  // All of them at once.
  ANActOptions& values(Options values) {
    values_ = std::move(values);
    return *this;
  }
  [[nodiscard]] const Options& values() const { return values_; }

  // Those of a recipe in place of all; single ones that follow win.
  ANActOptions& recipe(Recipe recipe) { return values(recipe_options(recipe)); }

 private:
  Options values_;
};

// As the module prints itself: "ANAct(silu, momentum=0.1)", with the options that are not the default.
[[nodiscard]] std::string print(const ANActOptions& options);

// The activation and every option as one text, "silu:statistics=previous:…", which a saved state carries.
[[nodiscard]] std::string to_text(const ANActOptions& options);

// What is wrong with a state that was saved with the text `saved` for a module with `options`, naming both; empty if
// nothing is.
[[nodiscard]] std::string mismatch(const ANActOptions& options, const std::string& saved);

// y = (lambda + 0.3 tanh alpha) (f(x) - mu) + b, with lambda, mu and b from running statistics of the module's own
// input (b is that of the solution `exact`; the first batch uses its own statistics, and so does one of the next nine
// that is unlike those before it, see replaces()).
//
// Input and output: any shape; float64, float32, bfloat16 or float16. In training each call updates the statistics in
// place; in evaluation, and while alpha is frozen by set_requires_grad(false), they are constants and nothing changes.
// A batch that says nothing of the gains, see accepts(), updates nothing and is counted in num_batches_skipped. An
// empty input is passed through and updates nothing.
//
// Parameter: alpha. Buffers: output_mean, output_square, input_variance, backward_gain, num_batches_tracked,
// num_batches_skipped.
// The statistics stay float32 (float64 after to(torch::kDouble)) whatever type the module is cast to.
class ANActImpl : public torch::nn::Cloneable<ANActImpl> {
 public:
  explicit ANActImpl(ANActOptions options = {});

  // Throws std::invalid_argument when the options contradict each other, or when a custom activation is not complete or
  // not finite under N(0, 1); c10::Error when one of its functions returns another shape than its argument's.
  void reset() override;

  // alpha to 0, and the statistics to those of N(0, 1); the latter alone.
  void reset_parameters();
  void reset_running_stats();

  torch::Tensor forward(const torch::Tensor& input);

  // lambda and mu in force in evaluation, from the running statistics.
  [[nodiscard]] double factor() const;
  [[nodiscard]] Statistics statistics() const;

  // "ANAct(silu, momentum=0.05)": the activation and every option that is not the default.
  void pretty_print(std::ostream& stream) const override;

  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  using torch::nn::Cloneable<ANActImpl>::to;

  ANActOptions options;
  torch::Tensor alpha;                // one element, learnable; of shape [1], since sharding takes no scalar parameter
  torch::Tensor output_mean;          // mu  = E[f(x)]
  torch::Tensor output_square;        // s   = E[f(x)^2]
  torch::Tensor input_variance;       // v   = Var(x)
  torch::Tensor backward_gain;        // rho' = E[f'(x)^2]
  torch::Tensor num_batches_tracked;  // int64: batches that entered the statistics
  torch::Tensor num_batches_skipped;  // int64: batches refused
};
TORCH_MODULE(ANAct);

// What convert_activations did. Places are named by their path in the module's tree, "features.1".
struct Conversion {
  std::vector<std::string> replaced;
  // Activations that are held by something other than a Sequential: a typed member of a user's module cannot be
  // replaced from outside.
  std::vector<std::string> unreached;
};

// Replaces every activation of torch::nn inside the Sequentials of `root`, itself or at any depth, by an ANAct of the
// same activation and parameters, with the other options as in `options` and training or evaluating as before. An
// activation that stands in several places becomes a module of its own in each. Throws std::invalid_argument, before it
// changes anything, for options with a custom activation, since each activation stays what it is.
//
// What a module calls as a function (torch::relu) is no module, and is not found. Optimizers made earlier do not know
// the new alphas.
Conversion convert_activations(torch::nn::Module& root, const ANActOptions& options = {});

// What fold did. Places are named by their path in the module's tree, "features.1".
struct Folding {
  // The affine map went into the weight and bias of the layer that follows: (ANAct, layer).
  std::vector<std::pair<std::string, std::string>> merged;
  // The affine map stayed, as one multiply-add after the activation: (ANAct, why).
  std::vector<std::pair<std::string, std::string>> kept;
  // ANActs that are held by something other than a Sequential, and so are ANActs still.
  std::vector<std::string> unreached;
};

// For inference: replaces every ANAct inside the Sequentials of `root` by its plain activation of torch::nn, and merges
// its affine map, as evaluation applies it, into the Linear or Conv1d, Conv2d or Conv3d that follows it in the same
// Sequential where that is exact; Identity, Dropout (in evaluation), Flatten and max pooling (where the map's scale is
// positive) may stand between. It is not exact where a convolution pads with zeros and the map has an offset, or where
// the layer stands in several places. A layer without a bias gets one if the map has an offset. Where it is not exact,
// and where no such layer follows, a torch::nn::Functional of one multiply-add stays after the activation: a new child
// named after the ANAct, "1_affine".
//
// Outputs agree with the evaluation of `root` before, up to rounding. Throws std::invalid_argument, before it changes
// anything, for a module in training and for statistics that are not finite.
Folding fold(torch::nn::Module& root);

// Each is ANAct of that activation with default options.
[[nodiscard]] ANAct NSwish();
[[nodiscard]] ANAct NReLU();

namespace functional {

// ANAct without state: normalizes by the statistics of `input` itself, as training with `statistics` = batch does, with
// alpha = 0. The options `statistics`, `momentum`, `gate` and `learnable` have no meaning here.
torch::Tensor anact(const torch::Tensor& input, const ANActOptions& options = {});

}  // namespace functional

}  // namespace anact::nn
