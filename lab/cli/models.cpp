// anact models: the networks, and what they cost.

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "data/source.h"
#include "models/catalogue.h"
#include "models/cost.h"
#include "text/csv.h"
#include "train/arm.h"

namespace anact::cli {
namespace {

struct Image {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;

  [[nodiscard]] std::string text() const {
    return std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width);
  }
};

struct Options {
  std::vector<std::string> names;
  std::optional<std::int64_t> classes;
  std::optional<std::string> image;
  std::string stem = std::string(models::to_string(models::ResNetStem::cifar));
  std::string activation = "silu";
  std::string format = "table";
};

struct Row {
  std::string_view name;
  std::string_view title;
  Image image;
  std::int64_t classes = 0;
  models::Cost cost;
};

// Images so large that no sum of their pixels leaves an int64, and no mistyped digit fills the memory.
constexpr std::int64_t kLargestSide = 4096;

Image parse_image(const std::string& text) {
  Image image;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (auto* side : {&image.channels, &image.height, &image.width}) {
    if (side != &image.channels && (at == end || *at++ != 'x')) at = nullptr;
    if (at == nullptr) break;
    const auto [next, error] = std::from_chars(at, end, *side);
    at = error == std::errc() && *side >= 1 && *side <= kLargestSide ? next : nullptr;
    if (at == nullptr) break;
  }
  if (at != end) {
    throw std::invalid_argument("image '" + text + "' is not CHANNELSxHEIGHTxWIDTH, each from 1 to " +
                                std::to_string(kLargestSide));
  }
  return image;
}

Row measure(const models::NetworkInfo& info, const Options& options, const train::Arm& arm) {
  // Without a choice of the user's: the digits for the MLP, CIFAR-100 for the others.
  const bool digits = info.name == "mlp";
  Row row{.name = info.name,
          .title = info.title,
          .image = options.image ? parse_image(*options.image)
                   : digits      ? Image{1, 8, 8}
                                 : Image{3, 32, 32},
          .classes = options.classes.value_or(digits ? 10 : 100),
          .cost = {}};
  const auto network = models::make_network(arm.applied_to({.name = std::string(info.name),
                                                            .channels = row.image.channels,
                                                            .height = row.image.height,
                                                            .width = row.image.width,
                                                            .classes = row.classes,
                                                            .norm = {},
                                                            .stem = models::parse_stem(options.stem),
                                                            .activation = {}}));
  row.cost = models::cost(*network, row.image.channels, row.image.height, row.image.width);
  return row;
}

std::vector<Row> compute(const Options& options) {
  const auto arm = train::parse_arm(options.activation);
  std::vector<Row> rows;
  if (options.names.empty()) {
    for (const auto& info : models::networks()) rows.push_back(measure(info, options, arm));
  }
  for (const auto& name : options.names) rows.push_back(measure(models::find_network(name), options, arm));
  return rows;
}

void print_csv(const std::vector<Row>& rows) {
  std::cout << "name,title,image,classes,parameters,multiply_adds,activations\n";
  for (const auto& row : rows) {
    std::cout << row.name << ',' << text::csv_field(row.title) << ',' << row.image.text() << ',' << row.classes << ','
              << row.cost.parameters << ',' << row.cost.multiply_adds << ',' << row.cost.activations << '\n';
  }
}

void print_json(const std::vector<Row>& rows) {
  auto result = nlohmann::ordered_json::array();
  for (const auto& row : rows) {
    result.push_back({{"name", row.name},
                      {"title", row.title},
                      {"image", {row.image.channels, row.image.height, row.image.width}},
                      {"classes", row.classes},
                      {"parameters", row.cost.parameters},
                      {"multiply_adds", row.cost.multiply_adds},
                      {"activations", row.cost.activations}});
  }
  std::cout << result.dump(2) << '\n';
}

std::string grouped(std::int64_t number) { return data::grouped(static_cast<std::uint64_t>(number)); }

void print_table(const std::vector<Row>& rows, const Options& options) {
  std::printf(
      "Networks with %s, and a ResNet of four stages with the stem for %s: parameters, multiply-adds of one image"
      " in linear layers\nand convolutions, places with an activation\n\n",
      options.activation.c_str(), options.stem.c_str());
  std::printf("%-9s %11s %7s %11s %15s %11s  %s\n", "name", "image", "classes", "parameters", "multiply-adds",
              "activations", "what it is");
  for (const auto& row : rows) {
    std::printf("%-9s %11s %7lld %11s %15s %11lld  %s\n", std::string(row.name).c_str(), row.image.text().c_str(),
                static_cast<long long>(row.classes), grouped(row.cost.parameters).c_str(),
                grouped(row.cost.multiply_adds).c_str(), static_cast<long long>(row.cost.activations),
                std::string(row.title).c_str());
  }
}

}  // namespace

void add_models(CLI::App& app) {
  auto* command = app.add_subcommand("models", "Print the networks, their sizes and what one image costs");
  const auto options = std::make_shared<Options>();
  command->add_option("network", options->names, "Networks such as resnet18; default: all");
  command->add_option("--image", options->image,
                      "CHANNELSxHEIGHTxWIDTH; default: 1x8x8 for mlp, 3x32x32 for the others");
  command->add_option("--classes", options->classes, "Default: 10 for mlp, 100 for the others")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--stem", options->stem, "Of resnet18, resnet34 and resnet50: cifar, tiny-imagenet or imagenet")
      ->capture_default_str();
  command
      ->add_option("--activation", options->activation,
                   "An activation, or an arm such as nsilu: ANAct adds a parameter a place")
      ->capture_default_str();
  command->add_option("--format", options->format, "Output format")
      ->check(CLI::IsMember({"table", "csv", "json"}))
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
