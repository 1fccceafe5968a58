// anact._C: what the Python package needs of ops and nn.
#include <pybind11/functional.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "anact/gaussian.h"
#include "anact/initialization.h"
#include "anact/nn.h"
#include "anact/options.h"
#include "anact/probe.h"
#include "layers/csv.h"
#include "layers/page.h"
#include "layers/table.h"
#include "nn/step.h"
#include "nn/torch_names.h"
#include "ops/arguments.h"
#include "ops/environment.h"

namespace anact::bindings {
namespace {

namespace py = pybind11;

// A function of tensors in Python. It may be copied, called and destroyed on any thread.
CustomActivation::Function to_function(const py::function& function) {
  const std::shared_ptr<py::function> shared(new py::function(function), [](py::function* of) {
    // At the end of the process it is left to the system.
    if (Py_IsInitialized() == 0) return;
    const py::gil_scoped_acquire acquired;
    delete of;
  });
  return [shared](const at::Tensor& x) {
    const py::gil_scoped_acquire acquired;
    const py::object result = (*shared)(x);
    if (!THPVariable_Check(result.ptr())) {
      throw py::type_error("ANAct: " + py::repr(*shared).cast<std::string>() + " returned " +
                           py::repr(py::type::of(result)).cast<std::string>() + "; expected a tensor");
    }
    return THPVariable_Unpack(result.ptr());
  };
}

// A name of the catalogue, or (name, f, f') of the user's own.
using AnyActivation = std::variant<std::string, std::tuple<std::string, py::function, py::function>>;

nn::ANActOptions to_options(const AnyActivation& activation) {
  if (const auto* name = std::get_if<std::string>(&activation)) return *name;
  const auto& [name, value, derivative] = std::get<1>(activation);
  return CustomActivation{.name = name, .value = to_function(value), .derivative = to_function(derivative)};
}

// Options by their names and texts, over those of a recipe.
nn::ANActOptions make_options(const AnyActivation& activation, const std::string& recipe,
                              const std::map<std::string, std::string>& given) {
  auto values = recipe_options(parse_recipe(recipe));
  for (const auto& [name, text] : given) {
    const auto& option = find_option(name);
    try {
      option.read(values, text);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": " + error.what());
    }
  }
  validate(values);
  return to_options(activation).values(values);
}

// A member of a module's dictionary of parameters or buffers; through the module itself where it is not in there, as
// when it is parametrized.
class Member {
 public:
  explicit Member(const char* name) : name_(PyUnicode_InternFromString(name)) {}

  [[nodiscard]] at::Tensor of(PyObject* module, PyObject* dictionary) const {
    if (PyObject* item = PyDict_GetItemWithError(dictionary, name_); item != nullptr && THPVariable_Check(item)) {
      return THPVariable_Unpack(item);
    }
    const auto item = py::reinterpret_steal<py::object>(PyObject_GetAttr(module, name_));
    if (!item) throw py::error_already_set();
    return item.cast<at::Tensor>();
  }

  [[nodiscard]] py::object of(PyObject* module) const {
    auto item = py::reinterpret_steal<py::object>(PyObject_GetAttr(module, name_));
    if (!item) throw py::error_already_set();
    return item;
  }

 private:
  PyObject* name_;  // lives as long as the process
};

// nn::step with its options.
class Step {
 public:
  explicit Step(nn::ANActOptions options) : options_(std::move(options)) {}

  // `module` holds alpha and the buffers under the names that the C++ module gives them.
  [[nodiscard]] at::Tensor forward(const py::handle& module, const at::Tensor& input) const {
    static const Member parameters_name("_parameters"), buffers_name("_buffers"), training_name("training"),
        frozen_name("_frozen");
    static const Member alpha_name("alpha"), mean_name("output_mean"), square_name("output_square"),
        variance_name("input_variance"), gain_name("backward_gain"), tracked_name("num_batches_tracked"),
        skipped_name("num_batches_skipped");
    PyObject* self = module.ptr();
    const py::object parameters = parameters_name.of(self);
    const py::object buffers = buffers_name.of(self);
    const bool training = training_name.of(self).cast<bool>();
    const auto alpha = alpha_name.of(self, parameters.ptr());
    const bool updates = training && !nn::is_frozen(alpha, options_) && !frozen_name.of(self).cast<bool>();
    const auto buffer = [&](const Member& name) { return name.of(self, buffers.ptr()); };
    const ops::RunningStatistics running{buffer(mean_name), buffer(square_name), buffer(variance_name),
                                         buffer(gain_name), buffer(tracked_name)};
    const auto skipped = buffer(skipped_name);
    const py::gil_scoped_release released;
    return nn::step(input, alpha, running, skipped, options_, updates);
  }

  [[nodiscard]] at::Tensor normalize(const at::Tensor& input) const {
    const py::gil_scoped_release released;
    return nn::normalize(input, options_);
  }

  [[nodiscard]] const nn::ANActOptions& options() const { return options_; }

 private:
  nn::ANActOptions options_;
};

std::vector<double> parameters_of(const Activation& activation) { return ops::encode_parameters(activation).vec(); }

// What torch.ops.anact.* take after the tensors: the activation's name, its parameters, and the options.
auto operator_arguments(const Step& step) {
  const auto& o = step.options();
  return std::make_tuple(std::string(activation_info(o.activation().kind).name), parameters_of(o.activation()),
                         to_text(o.values()));
}

// None, or a value of Python: text, bool, float or a pair of floats.
py::object to_python(const std::optional<OptionValue>& value) {
  if (!value) return py::none();
  return std::visit(
      []<class Value>(const Value& plain) -> py::object {
        if constexpr (std::is_same_v<Value, std::vector<double>>) {
          return py::make_tuple(plain.at(0), plain.at(1));
        } else {
          return py::cast(plain);
        }
      },
      *value);
}

py::dict to_dictionary(const Options& options) {
  py::dict result;
  for (const auto& option : option_table()) {
    result[py::str(option.name.data(), option.name.size())] = to_python(option.value(options));
  }
  return result;
}

auto to_tuple(const Statistics& s) {
  return std::make_tuple(s.output_mean, s.output_square, s.input_variance, s.backward_gain);
}

Statistics to_statistics(const std::tuple<double, double, double, double>& of) {
  const auto& [mean, square, variance, gain] = of;
  return {.output_mean = mean, .output_square = square, .input_variance = variance, .backward_gain = gain};
}

// PyTorch's names for the activations: the catalogue's name, the class, the functions, the parameters, and the keyword
// that tells which activation it is.
auto torch_names() {
  using Names = std::vector<std::string>;
  std::vector<std::tuple<std::string, std::string, Names, Names, std::map<std::string, std::string>>> rows;
  for (const auto& row : nn::torch_activations()) {
    const auto& info = activation_info(row.kind);
    Names functions;
    for (const auto function : row.functions) {
      if (!function.empty()) functions.emplace_back(function);
    }
    Names parameters;
    for (const auto& parameter : info.parameters) parameters.emplace_back(parameter.name);
    std::map<std::string, std::string> choice;
    if (!row.choice.keyword.empty()) choice.emplace(row.choice.keyword, row.choice.value);
    rows.emplace_back(info.name, row.module, functions, parameters, choice);
  }
  return rows;
}

// What `anact gains` prints of one activation: its name, mean, square, both gains, and lambda of each solution.
auto gains_of(const std::string& text, double mean, double deviation, const std::string& target) {
  const auto activation = parse_activation(text);
  const auto statistics = gaussian_statistics(activation, mean, deviation);
  const auto gains = anact::gains(statistics, {});
  std::vector<std::pair<std::string, double>> factors;
  for (const auto solution : all_solutions()) {
    factors.emplace_back(to_string(solution),
                         lambda(statistics, {.solution = solution, .target = parse_target(target)}));
  }
  return std::make_tuple(activation.to_string(), statistics.output_mean, statistics.output_square, gains.forward,
                         gains.backward, factors);
}

py::dict to_dictionary(const ops::Environment& environment) {
  py::dict result;
  for (const auto& [name, value] : environment) {
    std::visit([&, &key = name](const auto& plain) { result[key.c_str()] = py::cast(plain); }, value);
  }
  return result;
}

// A row of the probe as a dictionary, by the columns of probe.csv.
py::dict to_dictionary(const LayerRecord& record) {
  py::dict result;
  for (const auto& column : layer_columns()) {
    std::visit([&](const auto& value) { result[py::str(column.name.data(), column.name.size())] = py::cast(value); },
               column.get(record));
  }
  return result;
}

std::vector<LayerRecord> to_records(const py::list& rows) {
  std::vector<LayerRecord> records;
  for (const auto& row : rows) {
    LayerRecord& record = records.emplace_back();
    for (const auto& column : layer_columns()) {
      auto value = column.get(record);
      const auto item = row[py::str(column.name.data(), column.name.size())];
      std::visit([&](auto& of) { of = item.cast<std::remove_reference_t<decltype(of)>>(); }, value);
      column.set(record, value);
    }
  }
  return records;
}

using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

PYBIND11_MODULE(_C, m) {
  py::class_<Step>(m, "Step")
      .def(py::init([](const AnyActivation& activation, const std::string& recipe,
                       const std::map<std::string, std::string>& options) {
             return Step(make_options(activation, recipe, options));
           }),
           py::arg("activation"), py::arg("recipe"), py::arg("options"))
      .def("options", [](const Step& step) { return to_dictionary(step.options().values()); })
      .def("text", [](const Step& step) { return nn::to_text(step.options()); })
      .def(
          "mismatch", [](const Step& step, const std::string& saved) { return nn::mismatch(step.options(), saved); },
          py::arg("saved"))
      .def("gaussian_statistics", [](const Step& step) { return to_tuple(nn::gaussian_statistics(step.options())); })
      .def("forward", &Step::forward, py::arg("module"), py::arg("input"))
      .def("normalize", &Step::normalize, py::arg("input"))
      .def("operator_arguments", &operator_arguments)
      .def(
          "factors",
          [](const Step& step, const std::tuple<double, double, double, double>& statistics, double alpha) {
            const auto map = factors(to_statistics(statistics), alpha, step.options().values().normalization());
            return std::make_pair(map.scale, map.offset);
          },
          py::arg("statistics"), py::arg("alpha"))
      .def(
          "factor",
          [](const Step& step, const std::tuple<double, double, double, double>& statistics) {
            return lambda(to_statistics(statistics), step.options().values().normalization());
          },
          py::arg("statistics"));

  py::class_<nn::VarianceProbe>(m, "VarianceProbe")
      .def(py::init([](NamedParameters parameters, std::int64_t every, bool predict,
                       nn::VarianceProbeOptions::Choice choose) {
             return std::make_unique<nn::VarianceProbe>(
                 std::move(parameters),
                 nn::VarianceProbeOptions().every(every).predict(predict).choose(std::move(choose)));
           }),
           py::arg("named_parameters"), py::arg("every"), py::arg("predict"), py::arg("choose"))
      .def("step", &nn::VarianceProbe::step)
      .def("finish", &nn::VarianceProbe::finish)
      .def("measures", &nn::VarianceProbe::measures)
      .def("enter", &nn::VarianceProbe::enter, py::arg("name"))
      .def("leave", &nn::VarianceProbe::leave)
      .def(
          "records",
          [](const nn::VarianceProbe& probe, std::size_t from) {
            py::list result;
            for (std::size_t i = from; i < probe.records().size(); ++i) {
              result.append(to_dictionary(probe.records()[i]));
            }
            return result;
          },
          py::arg("from_row") = 0);
  m.def(
      "probe_csv", [](const py::list& rows) { return layers::layer_csv(to_records(rows)); }, py::arg("rows"));
  m.def(
      "probe_table", [](const py::list& rows) { return layers::layer_table(layers::last_step(to_records(rows))); },
      py::arg("rows"));
  m.def(
      "probe_html",
      [](const py::list& rows, const std::string& title,
         const std::vector<std::pair<std::string, std::string>>& settings) {
        return layers::probe_html({.title = title, .settings = settings, .records = to_records(rows)});
      },
      py::arg("rows"), py::arg("title"), py::arg("settings"));
  m.attr("ALPHA_RANGE") = kAlphaRange;
  m.def("canonical", [](const std::string& activation) { return parse_activation(activation).to_string(); });
  m.def("split", [](const std::string& text) {
    const auto activation = parse_activation(text);
    return std::make_pair(std::string(activation_info(activation.kind).name), parameters_of(activation));
  });
  m.def("probe_columns", [] {
    std::vector<std::pair<std::string, bool>> columns;
    for (const auto& column : layer_columns()) {
      columns.emplace_back(column.name, std::holds_alternative<double>(column.get(LayerRecord{})));
    }
    return columns;
  });
  m.def("activations", [] {
    std::vector<std::string> names;
    for (const auto& info : activation_catalogue()) names.emplace_back(info.name);
    return names;
  });
  m.def("torch_activations", &torch_names);
  m.def("gains", &gains_of, py::arg("activation"), py::arg("mean"), py::arg("std"), py::arg("target"));
  m.def(
      "initialize_weight",
      [](const at::Tensor& weight, const std::string& recipe, const std::optional<at::Generator>& generator) {
        const auto which = parse_recipe(recipe);
        const py::gil_scoped_release released;
        nn::initialize_weight(weight, which, generator);
      },
      py::arg("weight"), py::arg("recipe"), py::arg("generator"));
  m.def("environment", [] { return to_dictionary(ops::environment()); });
  m.def("gpu_environment", [] { return to_dictionary(ops::gpu_environment()); });
  m.def("options", [] {
    std::vector<std::tuple<std::string, std::string, std::string, std::string>> rows;
    for (const auto& option : option_table()) {
      rows.emplace_back(option.name, option.values, option.write({}), option.help);
    }
    return rows;
  });
  m.def("recipes", [] {
    std::vector<std::tuple<std::string, std::string, std::string, std::string>> rows;
    for (const auto& info : recipes()) rows.emplace_back(info.name, info.options, info.weights, info.help);
    return rows;
  });
}

}  // namespace
}  // namespace anact::bindings
