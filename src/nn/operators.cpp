#include "nn/operators.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "nn/torch_names.h"
#include "ops/arguments.h"
#include "ops/step.h"

namespace anact::nn {
namespace {

using Arguments = c10::ArrayRef<c10::IValue>;
using Numbers = std::vector<std::int64_t>;
using Decode = std::optional<Call> (*)(Arguments, const IsParameter&);

at::Tensor tensor(const c10::IValue& value) { return value.isTensor() ? value.toTensor() : at::Tensor(); }

double number(const c10::IValue& value) { return value.toScalar().toDouble(); }

// As many numbers as there are dimensions: one stands for all.
Numbers numbers(const c10::IValue& value, std::size_t dimensions) {
  auto result = value.isInt() ? Numbers{value.toInt()} : value.toIntVector();
  if (result.size() == 1) result.resize(dimensions, result.front());
  return result;
}

double elements(const at::Tensor& tensor) { return static_cast<double>(tensor.numel()); }

// Pairs of an output and of an element of its window that is an element of the input, along one dimension.
double count_pairs(std::int64_t inputs, std::int64_t outputs, std::int64_t window, std::int64_t stride,
                   std::int64_t padding, std::int64_t dilation) {
  std::int64_t result = 0;
  for (std::int64_t o = 0; o < outputs; ++o) {
    for (std::int64_t k = 0; k < window; ++k) {
      const std::int64_t place = o * stride - padding + k * dilation;
      result += place >= 0 && place < inputs ? 1 : 0;
    }
  }
  return static_cast<double>(result);
}

// Linear layers.

std::optional<Call> linear(Arguments a, const IsParameter&) {
  return LinearCall{.input = tensor(a[0]), .weight = tensor(a[1]), .bias = tensor(a[2])};
}

std::optional<Call> product(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                            const IsParameter& is_parameter) {
  if (!weight.defined() || weight.dim() != 2 || !is_parameter(weight)) return std::nullopt;
  return LinearCall{.input = input, .weight = weight, .bias = bias, .transposed = true};
}

std::optional<Call> matmul(Arguments a, const IsParameter& is_parameter) {
  return product(tensor(a[0]), tensor(a[1]), {}, is_parameter);
}

std::optional<Call> addmm(Arguments a, const IsParameter& is_parameter) {
  if (number(a[3]) != 1 || number(a[4]) != 1) return std::nullopt;
  return product(tensor(a[1]), tensor(a[2]), tensor(a[0]), is_parameter);
}

// Convolutions.

std::optional<Call> convolution(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                                const c10::IValue& stride, const c10::IValue& padding, const c10::IValue& dilation) {
  if (weight.dim() < 3) return std::nullopt;
  const auto dimensions = static_cast<std::size_t>(weight.dim()) - 2;
  ConvolutionCall call{.input = input,
                       .weight = weight,
                       .bias = bias,
                       .stride = numbers(stride, dimensions),
                       .padding = {},
                       .dilation = numbers(dilation, dimensions)};
  if (padding.isString()) {
    for (std::size_t d = 0; d < dimensions; ++d) {
      const auto reach = call.dilation[d] * (weight.size(static_cast<std::int64_t>(d) + 2) - 1);
      call.padding.push_back(padding.toStringRef() == "same" ? reach / 2 : 0);
    }
  } else {
    call.padding = numbers(padding, dimensions);
  }
  return call;
}

std::optional<Call> convolution_nd(Arguments a, const IsParameter&) {
  return convolution(tensor(a[0]), tensor(a[1]), tensor(a[2]), a[3], a[4], a[5]);
}

std::optional<Call> convolution_any(Arguments a, const IsParameter&) {
  if (a[6].toBool()) return std::nullopt;  // transposed
  return convolution(tensor(a[0]), tensor(a[1]), tensor(a[2]), a[3], a[4], a[5]);
}

std::optional<Call> batch_norm(Arguments a, const IsParameter&) {
  return BatchNormCall{.input = tensor(a[0]),
                       .weight = tensor(a[1]),
                       .bias = tensor(a[2]),
                       .running_mean = tensor(a[3]),
                       .running_variance = tensor(a[4]),
                       .batch_statistics = a[5].toBool(),
                       .eps = a[7].toDouble()};
}

// ANAct.

Activation catalogue_activation(const c10::IValue& name, const c10::IValue& parameters) {
  const auto& text = name.toStringRef();
  return ops::decode_activation({text.data(), text.size()}, parameters.toDoubleVector());
}

const Options& options_of(const c10::IValue& options) {
  const auto& text = options.toStringRef();
  return ops::decode_options({text.data(), text.size()});
}

std::optional<Call> anact_plain(Arguments a, const IsParameter&) {
  using namespace ops;
  const auto input = tensor(a[plain_input]);
  const double scale = number(a[plain_scale]);
  const auto& name = a[plain_activation];
  if (a[plain_parameters].isNone()) return LearntCall{input, tensor(a[plain_learnt]), name.toStringRef(), scale};
  return ActivationCall{input, catalogue_activation(name, a[plain_parameters]), scale};
}

std::optional<Call> prelu(Arguments a, const IsParameter&) {
  return LearntCall{.input = tensor(a[0]), .parameter = tensor(a[1]), .name = "prelu"};
}

std::optional<Call> anact_step(Arguments a, const IsParameter&) {
  using namespace ops;
  const bool custom = a[step_parameters].isNone();
  const Options& options = options_of(a[step_options]);
  // Of an activation of the user's own only training measures, and what is not measured could not be shown.
  if (custom && !(a[step_training].toBool() && options.updates(true))) return std::nullopt;
  return ANActCall{.input = tensor(a[step_input]),
                   .alpha = tensor(a[step_alpha]),
                   .activation = custom ? Activation{} : catalogue_activation(a[step_activation], a[step_parameters]),
                   .custom = custom ? a[step_activation].toStringRef() : "",
                   .normalization = options.normalization(),
                   .statistics = std::nullopt};
}

std::optional<Call> anact_evaluate(Arguments a, const IsParameter&) {
  return ANActCall{.input = tensor(a[0]),
                   .alpha = tensor(a[1]),
                   .activation = catalogue_activation(a[6], a[7]),
                   .custom = "",
                   .normalization = options_of(a[8]).normalization(),
                   .statistics = Statistics{.output_mean = tensor(a[2]).item<double>(),
                                            .output_square = tensor(a[3]).item<double>(),
                                            .input_variance = tensor(a[4]).item<double>(),
                                            .backward_gain = tensor(a[5]).item<double>()}};
}

// What stands between layers.

// Two tensors of one shape, one of each. A number, a bias that is broadcast and a tensor added to itself are something
// else.
std::optional<Call> sum(Arguments a, const IsParameter& is_parameter) {
  const auto left = tensor(a[0]);
  const auto right = tensor(a[1]);
  if (!left.defined() || !right.defined() || left.sizes() != right.sizes() || left.is_same(right) ||
      number(a[2]) != 1 || is_parameter(left) || is_parameter(right)) {
    return std::nullopt;
  }
  return SumCall{left, right};
}

std::optional<Call> same(Arguments a, const IsParameter&) { return RearrangeCall{tensor(a[0]), nullptr}; }

// But not as another type, which makes other values of the same bits.
std::optional<Call> view(Arguments a, const IsParameter& is_parameter) {
  if (a[1].isInt()) return std::nullopt;
  return same(a, is_parameter);
}

// A tensor and a number, or a tensor of one element without dimensions.
std::optional<Call> product_with_scalar(Arguments a, const IsParameter&) {
  auto input = tensor(a[0]);
  auto factor = tensor(a[1]);
  if (input.defined() && input.dim() == 0) std::swap(input, factor);
  if (!input.defined() || input.dim() == 0 || (factor.defined() && factor.dim() != 0)) return std::nullopt;
  const double value = factor.defined() ? factor.item<double>() : number(a[1]);
  return RearrangeCall{input, [value](const at::Tensor&, const at::Tensor&) { return value * value; }};
}

// Each output is one of the inputs, or (of padding with a constant) none.
std::optional<Call> selection(Arguments a, const IsParameter&) {
  return RearrangeCall{
      tensor(a[0]), [](const at::Tensor& x, const at::Tensor& y) { return std::min(1.0, elements(y) / elements(x)); }};
}

std::optional<Call> max_pool(Arguments a, const IsParameter&) {
  return RearrangeCall{tensor(a[0]),
                       [](const at::Tensor& x, const at::Tensor& y) { return elements(y) / elements(x); }};
}

// Each output is the mean of as many inputs as there are to an output.
std::optional<Call> mean(Arguments a, const IsParameter&) {
  return RearrangeCall{tensor(a[0]), [](const at::Tensor& x, const at::Tensor& y) {
                         const double share = elements(y) / elements(x);
                         return share * share;
                       }};
}

std::optional<Call> adaptive_mean(Arguments a, const IsParameter& is_parameter) {
  const auto x = tensor(a[0]);
  const auto sizes = numbers(a[1], 1);
  // Windows overlap where the sizes do not divide.
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    const auto size = x.size(x.dim() - static_cast<std::int64_t>(sizes.size() - d));
    if (sizes[d] <= 0 || size % sizes[d] != 0) return std::nullopt;
  }
  return mean(a, is_parameter);
}

template <std::size_t dimensions>
std::optional<Call> average_pool(Arguments a, const IsParameter&) {
  const auto window = numbers(a[1], dimensions);
  const auto stride = a[2].toIntVector().empty() ? window : numbers(a[2], dimensions);
  const auto padding = numbers(a[3], dimensions);
  const bool ceil = a[4].toBool();
  const bool count_padding = a[5].toBool();
  const bool padded = std::any_of(padding.begin(), padding.end(), [](std::int64_t p) { return p != 0; });
  if (ceil || (padded && !count_padding) || (a.size() > 6 && !a[6].isNone())) return std::nullopt;
  return RearrangeCall{tensor(a[0]), [window, stride, padding](const at::Tensor& x, const at::Tensor& y) {
                         double result = 1;
                         for (std::size_t d = 0; d < dimensions; ++d) {
                           const auto dim = -static_cast<std::int64_t>(dimensions - d);
                           const auto size = static_cast<double>(window[d]);
                           result *= count_pairs(x.size(dim), y.size(dim), window[d], stride[d], padding[d], 1) /
                                     (size * size * static_cast<double>(x.size(dim)));
                         }
                         return result;
                       }};
}

// Of the probability p and whether it is training.
std::optional<Call> dropout(Arguments a, const IsParameter&) {
  const double p = a[1].toDouble();
  if (!a[2].toBool() || p == 0) return RearrangeCall{tensor(a[0]), nullptr};
  if (p >= 1) return std::nullopt;
  return RearrangeCall{tensor(a[0]), [p](const at::Tensor&, const at::Tensor&) { return 1 / (1 - p); }};
}

std::optional<Call> pad(Arguments a, const IsParameter& is_parameter) {
  if (a[2].toStringRef() != "constant") return std::nullopt;
  return selection(a, is_parameter);
}

// All but the activations.
const std::unordered_map<std::string_view, Decode>& table() {
  static const std::unordered_map<std::string_view, Decode> result = {
      {"aten::linear", linear},
      {"aten::addmm", addmm},
      {"aten::mm", matmul},
      {"aten::matmul", matmul},
      {"aten::conv1d", convolution_nd},
      {"aten::conv2d", convolution_nd},
      {"aten::conv3d", convolution_nd},
      {"aten::convolution", convolution_any},
      {"aten::batch_norm", batch_norm},
      {"aten::prelu", prelu},
      {ops::kStepName, anact_step},
      {ops::kPlainName, anact_plain},
      {"anact::evaluate", anact_evaluate},
      {"aten::add", sum},
      {"aten::add_", sum},
      {"aten::alias", same},
      {"aten::clone", same},
      {"aten::contiguous", same},
      {"aten::dropout", dropout},
      {"aten::dropout_", dropout},
      {"aten::feature_dropout", dropout},
      {"aten::flatten", same},
      {"aten::movedim", same},
      {"aten::mul", product_with_scalar},
      {"aten::permute", same},
      {"aten::reshape", same},
      {"aten::squeeze", same},
      {"aten::t", same},
      {"aten::to", same},
      {"aten::transpose", same},
      {"aten::unflatten", same},
      {"aten::unsqueeze", same},
      {"aten::view", view},
      {"aten::adaptive_avg_pool1d", adaptive_mean},
      {"aten::adaptive_avg_pool2d", adaptive_mean},
      {"aten::adaptive_avg_pool3d", adaptive_mean},
      {"aten::avg_pool1d", average_pool<1>},
      {"aten::avg_pool2d", average_pool<2>},
      {"aten::avg_pool3d", average_pool<3>},
      {"aten::constant_pad_nd", selection},
      {"aten::max_pool1d", max_pool},
      {"aten::max_pool2d", max_pool},
      {"aten::max_pool3d", max_pool},
      {"aten::max_pool2d_with_indices", max_pool},
      {"aten::mean", mean},
      {"aten::pad", pad},
      {"aten::select", selection},
      {"aten::slice", selection},
  };
  return result;
}

}  // namespace

std::optional<Call> decode_call(std::string_view name, c10::ArrayRef<c10::IValue> arguments,
                                const IsParameter& is_parameter) {
  std::optional<Call> call;
  if (const auto found = table().find(name); found != table().end()) {
    call = found->second(arguments, is_parameter);
  } else if (const auto activation = activation_of(name, arguments)) {
    call = ActivationCall{.input = tensor(arguments[0]), .activation = *activation};
  }
  if (call && !std::visit([](const auto& any) { return input_of(any).defined(); }, *call)) return std::nullopt;
  return call;
}

bool is_closed(std::string_view name) {
  return name == "aten::lstm" || name == "aten::gru" || name == "aten::rnn_tanh" || name == "aten::rnn_relu" ||
         name == "aten::lstm_cell" || name == "aten::gru_cell" || name == "aten::rnn_tanh_cell" ||
         name == "aten::rnn_relu_cell";
}

LinearMap linear_map(const LinearCall& call, double weight_second_moment, double bias_second_moment) {
  const auto [inputs, outputs] = weight_fans(call);
  return {.taps_in = static_cast<double>(inputs),
          .taps_out = static_cast<double>(outputs),
          .weight_second_moment = weight_second_moment,
          .bias_second_moment = bias_second_moment};
}

LinearMap linear_map(const ConvolutionCall& call, const at::Tensor& output, double weight_second_moment,
                     double bias_second_moment) {
  // Each input channel leads to the outputs of its own group.
  const auto groups = call.input.size(-1 - static_cast<std::int64_t>(call.stride.size())) / call.weight.size(1);
  LinearMap result{.taps_in = static_cast<double>(call.weight.size(1)),
                   .taps_out = static_cast<double>(call.weight.size(0)) / static_cast<double>(groups),
                   .weight_second_moment = weight_second_moment,
                   .bias_second_moment = bias_second_moment};
  for (std::size_t d = 0; d < call.stride.size(); ++d) {
    const auto dim = -static_cast<std::int64_t>(call.stride.size() - d);
    const auto inputs = call.input.size(dim);
    const auto outputs = output.size(dim);
    const double pairs =
        count_pairs(inputs, outputs, call.weight.size(dim), call.stride[d], call.padding[d], call.dilation[d]);
    result.taps_in *= pairs / static_cast<double>(outputs);
    result.taps_out *= pairs / static_cast<double>(inputs);
  }
  return result;
}

Fans weight_fans(const LinearCall& call) {
  // A vector stands for one output.
  if (call.weight.dim() == 1) return {.inputs = call.weight.size(0), .outputs = 1};
  const auto [inputs, outputs] = fans(call.weight);
  return call.transposed ? Fans{.inputs = outputs, .outputs = inputs} : Fans{.inputs = inputs, .outputs = outputs};
}

Fans weight_fans(const ConvolutionCall& call) { return fans(call.weight); }

}  // namespace anact::nn
