#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "text/words.h"

namespace anact::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(Samples values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(position);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (position - static_cast<double>(low)) * (values[high] - values[low]);
}

template <class F>
double paired_median(const Samples& a, const Samples& b, F f) {
  Samples pairs;
  for (std::size_t i = 0; i < a.size(); ++i) pairs.push_back(f(a[i], b[i]));
  return quantile(std::move(pairs), 0.5);
}

}  // namespace

std::vector<Samples> alternate(const std::vector<std::function<void()>>& contenders, const Budget& budget) {
  constexpr double kMostPasses = 10000;
  const std::size_t count = contenders.size();
  std::vector<int> passes;
  for (const auto& contender : contenders) {
    contender();
    const auto start = Clock::now();
    contender();
    passes.push_back(
        static_cast<int>(std::clamp(budget.turn / std::max(seconds_since(start), 1e-7), 1.0, kMostPasses)));
  }
  std::vector<Samples> samples(count);
  const auto start = Clock::now();
  for (int round = 0; round < budget.rounds; ++round) {
    if (round >= kLeastRounds && seconds_since(start) >= budget.seconds) break;
    for (std::size_t turn = 0; turn < count; ++turn) {
      const std::size_t c = (turn + static_cast<std::size_t>(round)) % count;
      const auto begin = Clock::now();
      for (int pass = 0; pass < passes[c]; ++pass) contenders[c]();
      samples[c].push_back(seconds_since(begin) / passes[c]);
    }
  }
  return samples;
}

Times summarize(const Samples& samples) {
  return {1e6 * quantile(samples, 0.2), 1e6 * quantile(samples, 0.5), 1e6 * quantile(samples, 0.8)};
}

double median_ratio(const Samples& a, const Samples& b) {
  return paired_median(a, b, [](double x, double y) { return x / y; });
}

double median_difference(const Samples& a, const Samples& b) {
  return 1e6 * paired_median(a, b, [](double x, double y) { return x - y; });
}

void check_budget(const Budget& budget) {
  if (budget.rounds < 1) {
    throw std::invalid_argument("rounds is " + std::to_string(budget.rounds) + "; it must be at least 1");
  }
  if (!(budget.seconds >= 0 && std::isfinite(budget.seconds))) {
    throw std::invalid_argument(text::format("seconds is %g; it must be 0 or more, and finite", budget.seconds));
  }
}

void check_threads(const std::vector<int>& threads) {
  constexpr int kMost = 1024;
  for (const int count : threads) {
    if (count < 1 || count > kMost) {
      throw std::invalid_argument(text::format("threads is %d; it must be from 1 to %d", count, kMost));
    }
  }
}

std::string csv_times_header(const std::string& contender) {
  std::string text;
  for (const char* percentile : {"p20", "p50", "p80"}) {
    text.append(",").append(contender).append("_us_").append(percentile);
  }
  return text;
}

std::string csv_times(const Times& times) { return text::format(",%.4g,%.4g,%.4g", times.p20, times.p50, times.p80); }

}  // namespace anact::bench
