// anact bench: the normalized activation's speed, against PyTorch's own activation.

#include "bench/bench.h"

#include <iostream>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "io/atomic_file.h"

namespace anact::cli {

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "Time ANAct against PyTorch's plain activations, forward and backward");
  struct Options {
    bench::Options bench;
    std::string csv;
  };
  const auto options = std::make_shared<Options>();
  auto& bench = options->bench;
  command->add_option("--activations", bench.activations, "What to time, such as silu 'elu(alpha=0.5)'")
      ->capture_default_str();
  command->add_option("--dtypes", bench.dtypes, "Of float32, float64, bfloat16, float16")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--sizes", bench.sizes, "Elements of the tensor")->delimiter(',')->capture_default_str();
  command->add_option("--threads", bench.threads, "Threads")->delimiter(',')->capture_default_str();
  command
      ->add_option("--instruction-sets", bench.instruction_sets,
                   "Instruction sets to force on ANAct's kernels, as `anact info` names them; default: the best")
      ->delimiter(',');
  command->add_option("--rounds", bench.rounds, "Rounds in which the contenders take turns")->capture_default_str();
  command->add_option("--csv", options->csv, "Also write all times to this file");
  command->callback([options] {
    std::cout << "Forward and backward through autograd, in training with all statistics; medians of "
              << options->bench.rounds << " rounds\n\n"
              << bench::markdown_header() << std::flush;
    const auto rows = usage([&] {
      return bench::run(options->bench,
                        [](const bench::Row& row) { std::cout << bench::markdown_row(row) << std::flush; });
    });
    if (!options->csv.empty()) io::write_file(options->csv, bench::to_csv(rows));
  });
}

}  // namespace anact::cli
