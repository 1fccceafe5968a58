// anact bench: the normalized activation's speed, against PyTorch's own activation.

#include "bench/bench.h"

#include <c10/util/Exception.h>

#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "bench/instruction_set.h"
#include "bench/steps.h"
#include "cli/commands.h"
#include "cli/malloc.h"
#include "cli/status_line.h"
#include "io/atomic_file.h"
#include "text/words.h"
#include "train/environment.h"

namespace anact::cli {
namespace {

// What the user set; where operators and steps have different defaults, nothing.
struct Options {
  bench::Options operators;
  bench::StepOptions steps;
  bool time_steps = false;
  std::vector<std::string> activations;
  std::vector<int> threads;
  std::optional<int> rounds;
  std::optional<double> seconds;
  std::string instruction_set;
  std::string csv;
};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text.append(text.empty() ? "" : " ").append(word);
  return text;
}

std::string joined(const std::vector<int>& numbers) {
  std::string text;
  for (const int number : numbers) text.append(text.empty() ? "" : ",").append(std::to_string(number));
  return text;
}

std::string either(double operators, double steps) { return text::format("%g, with --steps %g", operators, steps); }

// What the figures depend on.
void print_environment() {
  const auto environment = train::environment();
  const auto text = [&](const char* name) { return environment.at(name).get<std::string>(); };
  std::cout << "Processor: " << text("cpu") << ", " << environment.at("cores") << " threads available; " << text("os")
            << "\n"
            << "Instruction sets: ANAct " << text("instruction_set") << ", PyTorch " << bench::torch_instruction_set()
            << "\n"
            << "PyTorch " << text("libtorch") << "; ANAct " << text("anact") << " by " << text("compiler") << ", "
            << text("build_type") << "\n"
            << "malloc: " << (malloc_is_set_by_user() ? "as the environment sets it" : "keeps freed memory") << "\n";
}

template <class BenchOptions>
void run(BenchOptions& bench, const Options& options, const std::string& what, const std::string& table_header) {
  if (!options.activations.empty()) bench.activations = options.activations;
  if (!options.threads.empty()) bench.threads = options.threads;
  if (options.rounds) bench.budget.rounds = *options.rounds;
  if (options.seconds) bench.budget.seconds = *options.seconds;
  usage([&] {
    bench::validate(bench);
    if (!options.instruction_set.empty()) bench::use_instruction_set(options.instruction_set);
  });
  print_environment();
  std::cout << what << "; medians of up to " << bench.budget.rounds << " rounds in which the contenders take turns\n\n"
            << table_header << std::flush;
  StatusLine line;
  try {
    const auto rows = bench::run(
        bench,
        [&](const bench::Case& next) {
          line.show(text::format("%zu/%zu, %s: %s", next.index + 1, next.count, minutes(line.elapsed()).c_str(),
                                 next.name.c_str()));
        },
        [&](const auto& row) {
          line.clear();
          std::cout << bench::markdown_row(row) << std::flush;
        });
    if (!options.csv.empty()) io::write_file(options.csv, bench::to_csv(rows));
  } catch (const c10::Error& error) {
    throw std::runtime_error(error.what_without_backtrace());
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "Time ANAct against PyTorch's plain activations, forward and backward");
  const auto options = std::make_shared<Options>();
  const bench::Options& operators = options->operators;
  const bench::StepOptions& steps = options->steps;
  auto* time_steps = command->add_flag("--steps", options->time_steps, "Time whole training steps of networks instead");
  command->add_option("--activations", options->activations, "What to time, such as silu 'elu(alpha=0.5)'")
      ->default_str(joined(operators.activations) + ", with --steps " + joined(steps.activations));
  command->add_option("--threads", options->threads, "Threads")->delimiter(',')->default_str(joined(operators.threads));
  command->add_option("--dtypes", options->operators.dtypes, "Of float32, float64, bfloat16, float16")
      ->delimiter(',')
      ->capture_default_str()
      ->excludes(time_steps);
  command->add_option("--sizes", options->operators.sizes, "Elements of the tensor")
      ->delimiter(',')
      ->capture_default_str()
      ->excludes(time_steps);
  command->add_option("--networks", options->steps.networks, "With --steps: of mlp, cnn, resnet18")
      ->delimiter(',')
      ->capture_default_str()
      ->needs(time_steps);
  command->add_option("--batch", options->steps.batch, "With --steps: samples to a step; default: 64, resnet18 32")
      ->needs(time_steps);
  command->add_option("--rounds", options->rounds, "Rounds in which the contenders take turns, at most")
      ->default_str(std::to_string(operators.budget.rounds));
  command->add_option("--seconds", options->seconds, "A case that took as long ends, though not before 5 rounds")
      ->default_str(either(operators.budget.seconds, steps.budget.seconds));
  command->add_option("--instruction-set", options->instruction_set,
                      "Hold ANAct and PyTorch to one, as `anact info` names them; default: the best of each");
  command->add_option("--csv", options->csv, "Also write all times to this file");
  command->callback([options] {
    if (options->time_steps) {
      run(options->steps, *options, "Training steps in float32: zero_grad, forward, cross-entropy, backward, SGD",
          bench::step_markdown_header());
    } else {
      run(options->operators, *options, "Forward and backward through autograd, in training with all statistics",
          bench::markdown_header());
    }
  });
}

}  // namespace anact::cli
