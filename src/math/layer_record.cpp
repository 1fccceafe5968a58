#include "anact/layer_record.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <type_traits>

namespace anact {
namespace {

struct KindName {
  LayerKind kind;
  std::string_view name;
};

constexpr std::array<KindName, 4> kKindNames{{{LayerKind::linear, "linear"},
                                              {LayerKind::convolution, "convolution"},
                                              {LayerKind::normalization, "normalization"},
                                              {LayerKind::activation, "activation"}}};

using Value = LayerColumn::Value;

std::string_view type_name(const Value& value) {
  constexpr std::array<std::string_view, std::variant_size_v<Value>> kNames{"an integer", "a number", "text",
                                                                            "true or false"};
  return kNames[value.index()];
}

// The value as a T. `set` says which column it was for.
template <typename T>
const T& value_as(const Value& value, void (*set)(LayerRecord&, const Value&)) {
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  const auto column = std::ranges::find(layer_columns(), set, &LayerColumn::set);
  throw std::invalid_argument("column \"" + std::string(column->name) + "\" cannot hold " +
                              std::string(type_name(value)) + "; expected " + std::string(type_name(T{})));
}

// A member of LayerRecord, or with two members the second one of the Spread that the first one is.
template <auto Member>
auto& member(auto& record) {
  return record.*Member;
}

template <auto Member, auto Part>
auto& member(auto& record) {
  return record.*Member.*Part;
}

template <auto... Path>
Value get(const LayerRecord& record) {
  return member<Path...>(record);
}

template <auto... Path>
void set(LayerRecord& record, const Value& value) {
  auto& target = member<Path...>(record);
  target = value_as<std::remove_cvref_t<decltype(target)>>(value, &set<Path...>);
}

Value get_kind(const LayerRecord& record) { return std::string(to_string(record.kind)); }

void set_kind(LayerRecord& record, const Value& value) {
  record.kind = parse_layer_kind(value_as<std::string>(value, &set_kind));
}

template <auto... Path>
constexpr LayerColumn column(std::string_view name, std::string_view help) {
  return {name, help, &get<Path...>, &set<Path...>};
}

using Row = LayerRecord;

constexpr std::array kColumns{
    column<&Row::step>("step", "training steps that were done before this one"),
    column<&Row::layer>("layer", "place in the order of the forward pass, from 0"),
    column<&Row::name>("name", "path of the module or of the weight's owner in the model"),
    LayerColumn{"kind", "linear, convolution, normalization or activation", &get_kind, &set_kind},
    column<&Row::activation>("activation", "the activation with its parameters; empty for another kind"),
    column<&Row::normalized>("normalized", "whether it is an ANAct"),
    column<&Row::input, &Spread::mean>("input_mean", "mean of the input"),
    column<&Row::input, &Spread::variance>("input_variance", "population variance of the input"),
    column<&Row::input, &Spread::second_moment>("input_second_moment", "mean square of the input"),
    column<&Row::output, &Spread::mean>("output_mean", "mean of the output"),
    column<&Row::output, &Spread::variance>("output_variance", "population variance of the output"),
    column<&Row::output, &Spread::second_moment>("output_second_moment", "mean square of the output"),
    column<&Row::input_gradient, &Spread::mean>("input_gradient_mean",
                                                "mean of the gradient with respect to the input"),
    column<&Row::input_gradient, &Spread::variance>("input_gradient_variance",
                                                    "population variance of the gradient with respect to the input"),
    column<&Row::input_gradient, &Spread::second_moment>("input_gradient_second_moment",
                                                         "mean square of the gradient with respect to the input"),
    column<&Row::output_gradient, &Spread::mean>("output_gradient_mean",
                                                 "mean of the gradient with respect to the output"),
    column<&Row::output_gradient, &Spread::variance>("output_gradient_variance",
                                                     "population variance of the gradient with respect to the output"),
    column<&Row::output_gradient, &Spread::second_moment>("output_gradient_second_moment",
                                                          "mean square of the gradient with respect to the output"),
    column<&Row::forward_gain>("forward_gain", "rho = E[f(x)^2] / Var(x)"),
    column<&Row::backward_gain>("backward_gain", "rho' = E[f'(x)^2]"),
    column<&Row::lambda>("lambda", "the factor in force, without alpha's part; 1 for a plain activation"),
    column<&Row::forward_property>("forward_property", "lambda^2 rho"),
    column<&Row::backward_property>("backward_property", "lambda^2 rho'"),
    column<&Row::output_mean>("mu", "E[f(x)]"),
    column<&Row::alpha>("alpha", "the learnable scalar of an ANAct"),
    column<&Row::dead_share>("dead_share", "share of units whose |f'(x)| is below 1e-3 everywhere in the batch"),
    column<&Row::fan_in>("fan_in", "fan-in of the weight"),
    column<&Row::fan_out>("fan_out", "fan-out of the weight"),
    column<&Row::weight_second_moment>("weight_second_moment", "mean square of the weight before the step"),
    column<&Row::update_ratio>("update_ratio", "norm of the weight's change in this step over the weight's norm"),
    column<&Row::predicted_second_moment>("predicted_second_moment",
                                          "output_second_moment by the theory, with measured gains of the activations"),
    column<&Row::predicted_gradient>(
        "predicted_gradient", "input_gradient_second_moment by the theory, with measured gains of the activations"),
    column<&Row::gaussian_second_moment>("gaussian_second_moment",
                                         "output_second_moment by the theory, with normally distributed inputs"),
    column<&Row::gaussian_gradient>("gaussian_gradient",
                                    "input_gradient_second_moment by the theory, with normally distributed inputs"),
    column<&Row::unpredicted>("unpredicted", "why a prediction is missing; empty where none is"),
};

}  // namespace

std::string_view to_string(LayerKind kind) {
  const auto found = std::ranges::find(kKindNames, kind, &KindName::kind);
  return found == kKindNames.end() ? "unknown" : found->name;
}

LayerKind parse_layer_kind(std::string_view text) {
  const auto found = std::ranges::find(kKindNames, text, &KindName::name);
  if (found != kKindNames.end()) return found->kind;
  std::string list;
  for (const KindName& row : kKindNames) {
    if (!list.empty()) list += ", ";
    list += row.name;
  }
  throw std::invalid_argument("unknown kind of layer \"" + std::string(text) + "\"; expected one of " + list);
}

std::span<const LayerColumn> layer_columns() { return kColumns; }

}  // namespace anact
