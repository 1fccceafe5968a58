// anact gains: what each activation does to a normally distributed input.

#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "anact/gaussian.h"
#include "anact/normalization.h"
#include "cli/commands.h"
#include "text/csv.h"
#include "text/words.h"

namespace anact::cli {
namespace {

struct Options {
  std::vector<std::string> activations;
  std::string format = "table";
  std::string target{to_string(NormalizationOptions{}.target)};
  double mean = 0;
  double deviation = 1;
};

struct Row {
  std::string activation;
  Statistics statistics;
  Gains gains;
  std::vector<double> factors;  // of all_solutions(), in order
};

std::string digits(double value) { return text::format("%.12g", value); }

std::vector<Row> compute(const Options& options) {
  std::vector<Activation> activations;
  for (const auto& text : options.activations) activations.push_back(parse_activation(text));
  if (activations.empty()) {
    for (const auto& info : activation_catalogue()) activations.push_back(make_activation(info.kind));
  }
  const auto target = parse_target(options.target);
  std::vector<Row> rows;
  for (const auto& activation : activations) {
    const auto statistics = gaussian_statistics(activation, options.mean, options.deviation);
    if (!statistics.is_finite()) {
      throw std::invalid_argument("the statistics of " + activation.to_string() + " under N(" + digits(options.mean) +
                                  ", " + digits(options.deviation) + "^2) are too large for double precision");
    }
    Row row{activation.to_string(), statistics, gains(statistics, {}), {}};
    for (const auto solution : all_solutions()) {
      row.factors.push_back(lambda(statistics, {.solution = solution, .target = target}));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_csv(const std::vector<Row>& rows) {
  std::cout << "activation,mean,square,forward_gain,backward_gain,factor\n";
  for (const auto& row : rows) {
    std::cout << text::csv_field(row.activation) << ',' << digits(row.statistics.output_mean) << ','
              << digits(row.statistics.output_square) << ',' << digits(row.gains.forward) << ','
              << digits(row.gains.backward) << ',' << digits(row.factors.front()) << '\n';
  }
}

void print_json(const std::vector<Row>& rows) {
  auto result = nlohmann::ordered_json::array();
  for (const auto& row : rows) {
    nlohmann::ordered_json object{{"activation", row.activation},           {"mean", row.statistics.output_mean},
                                  {"square", row.statistics.output_square}, {"forward_gain", row.gains.forward},
                                  {"backward_gain", row.gains.backward},    {"factor", row.factors.front()}};
    for (std::size_t i = 0; i < row.factors.size(); ++i) {
      object["factors"][std::string(to_string(all_solutions()[i]))] = row.factors[i];
    }
    result.push_back(std::move(object));
  }
  std::cout << result.dump(2) << '\n';
}

void print_table(const std::vector<Row>& rows, const Options& options) {
  std::printf(
      "Statistics of f(x) for x ~ N(%g, %g^2), and the normalization factor lambda of each solution "
      "(target %s)\n\n",
      options.mean, options.deviation, options.target.c_str());
  std::size_t width = 10;
  for (const auto& row : rows) width = std::max(width, row.activation.size());
  std::printf("%-*s %12s %12s %12s %13s", static_cast<int>(width), "activation", "mean", "square", "forward_gain",
              "backward_gain");
  for (const auto solution : all_solutions()) std::printf(" %11s", std::string(to_string(solution)).c_str());
  std::printf("\n");
  for (const auto& row : rows) {
    std::printf("%-*s %12.6g %12.6g %12.6g %13.6g", static_cast<int>(width), row.activation.c_str(),
                row.statistics.output_mean, row.statistics.output_square, row.gains.forward, row.gains.backward);
    for (const double factor : row.factors) std::printf(" %11.6g", factor);
    std::printf("\n");
  }
}

}  // namespace

void add_gains(CLI::App& app) {
  auto* command = app.add_subcommand("gains", "Print what each activation does to a normally distributed input");
  const auto options = std::make_shared<Options>();
  command->add_option("activation", options->activations, "Activations such as silu or 'elu(alpha=0.5)'; default: all");
  command->add_option("--format", options->format, "Output format")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  command->add_option("--mean", options->mean, "Mean of the input")->capture_default_str();
  command->add_option("--std", options->deviation, "Standard deviation of the input")->capture_default_str();
  std::vector<std::string> targets;
  for (const auto target : all_targets()) targets.emplace_back(to_string(target));
  command->add_option("--target", options->target, "What E[y^2] is held to")
      ->check(CLI::IsMember(targets))
      ->capture_default_str();
  command->callback([options] {
    const auto rows = usage([&] { return compute(*options); });
    if (options->format == "csv") {
      print_csv(rows);
    } else if (options->format == "json") {
      print_json(rows);
    } else {
      print_table(rows, *options);
    }
  });
}

}  // namespace anact::cli
