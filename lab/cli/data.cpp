// anact data: which data sets there are, where they are, and what is in them.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/status_line.h"
#include "data/contact_sheet.h"
#include "data/publication.h"
#include "data/sets.h"
#include "data/source.h"
#include "io/atomic_file.h"
#include "text/words.h"

namespace anact::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kRedrawSeconds = 0.1;

struct Options {
  std::string name;
  fs::path data_path;
  std::string url;
  fs::path output;
  std::string split = "train";
  data::ContactSheetOptions sheet;
};

std::string grouped(std::int64_t number) { return data::grouped(static_cast<std::uint64_t>(number)); }

// A status line that is drawn as often as one can read it.
class Follower {
 public:
  ~Follower() { line_.clear(); }

  void show(const std::function<std::string()>& text) {
    const double now = line_.elapsed();
    if (now - drawn_at_ < kRedrawSeconds) return;
    drawn_at_ = now;
    line_.show(text());
  }

 private:
  StatusLine line_;
  double drawn_at_ = 0;
};

std::string megabytes(std::int64_t bytes) { return text::format("%.1f", static_cast<double>(bytes) / 1e6); }

data::Dataset open_set(const Options& options, const fs::path& cache = {}) {
  Follower follower;
  data::OpenOptions open_options;
  open_options.path = options.data_path;
  open_options.cache = cache;
  open_options.progress = [&](std::int64_t done, std::int64_t of) {
    follower.show([&] { return "reading " + options.name + ": " + grouped(done) + " of " + grouped(of) + " images"; });
  };
  return usage([&] { return data::open(options.name, open_options); });
}

void list() {
  std::size_t width = 0;
  for (const auto& set : data::sets()) width = std::max(width, set.name.size());
  for (const auto& set : data::sets()) {
    std::string where = "not here";
    if (set.folder.empty()) {
      where = "yours: --data-path names it";
    } else {
      try {
        where = data::find_path(set).string();
      } catch (const std::runtime_error&) {
        // It lies in none of the folders.
      }
    }
    std::printf("%-*s  %s\n%-*s  %s\n", static_cast<int>(width), std::string(set.name).c_str(),
                std::string(set.title).c_str(), static_cast<int>(width), "", where.c_str());
  }
}

void get(const Options& options) {
  const auto& set = usage([&]() -> const data::SetInfo& { return data::find_set(options.name); });
  const auto* publication = data::find_publication(options.name);
  if (publication == nullptr) {
    throw UsageError(options.name == "digits" ? "the digits are not downloaded: `make setup` puts them there"
                                              : "'" + options.name + "' is not downloaded: it is any folder of images");
  }
  const auto folder = (options.output.empty() ? data::data_folders().front() : options.output) / set.folder;
  if (publication->archive && fs::exists(folder)) {
    std::cout << options.name << " is at '" << folder.string() << "' already; to get it anew, remove that first\n";
    return;
  }
  {
    Follower follower;
    data::GetOptions get_options;
    get_options.url = options.url;
    get_options.progress = [&](const std::string& doing, std::int64_t done, std::int64_t of) {
      follower.show([&] {
        const auto share = of > 0 ? static_cast<double>(done) / static_cast<double>(of) : 0;
        return "[" + bar(share) + "] " + megabytes(done) + (of > 0 ? " of " + megabytes(of) : "") + " MB, " + doing;
      });
    };
    usage([&] { data::get(*publication, folder, get_options); });
  }
  std::cout << options.name << " is at '" << folder.string() << "'\n";
}

// Images, and how many of each class.
std::string balance(const data::Dataset& dataset, const data::Samples& samples, const char* kind) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(dataset.classes()));
  for (const auto label : samples.labels) ++counts[static_cast<std::size_t>(label)];
  const auto [fewest, most] = std::ranges::minmax_element(counts);
  if (*fewest == 0) {
    throw std::runtime_error("'" + dataset.source + "': no " + kind + " images of the class '" +
                             dataset.class_names[static_cast<std::size_t>(fewest - counts.begin())] +
                             "'; expected some of each");
  }
  return grouped(samples.size()) + " images, " + grouped(*fewest) + (*fewest == *most ? "" : "…" + grouped(*most)) +
         " of each of " + grouped(dataset.classes()) + " classes";
}

// A cache of its own, so that everything is read from the set's files.
class FreshCache {
 public:
  explicit FreshCache(const std::string& name) : path_(data::cache_folder() / ("verify-" + name)) { remove(); }
  FreshCache(const FreshCache&) = delete;
  FreshCache& operator=(const FreshCache&) = delete;
  ~FreshCache() { remove(); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  void remove() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  fs::path path_;
};

void verify(const Options& options) {
  usage([&] { (void)data::find_set(options.name); });
  const FreshCache cache(options.name);
  const auto dataset = open_set(options, cache.path());
  const auto* publication = data::find_publication(options.name);
  const auto digests = publication == nullptr ? 0 : data::verify(*publication, dataset.source);
  const auto train = balance(dataset, dataset.train, "training"), test = balance(dataset, dataset.test, "test");
  const auto numbers = [](const std::vector<double>& values) {
    std::vector<std::string> texts;
    for (const double value : values) texts.push_back(text::format("%.4f", value));
    return text::join(texts, " ");
  };
  std::cout << options.name << " at '" << dataset.source << "'\n"
            << "training   " << train << "\n"
            << "test       " << test << "\n"
            << "shape      " << dataset.shape.channels << " x " << dataset.shape.height << " x " << dataset.shape.width
            << " (channels, height, width)\n"
            << "mean       " << numbers(dataset.mean) << "\n"
            << "deviation  " << numbers(dataset.deviation) << "\n"
            << "checksum   " << dataset.checksum << "\n"
            << "digests    ";
  if (digests > 0) {
    std::cout << digests << " files are as published\n";
  } else {
    std::cout << "no files are kept as they were published\n";
  }
}

void show(const Options& options) {
  usage([&] { (void)data::find_set(options.name); });
  auto sheet = options.sheet;
  sheet.test = options.split == "test";
  const auto dataset = open_set(options);
  io::write_file(options.output, usage([&] { return data::contact_sheet(dataset, sheet); }));
  std::cout << "wrote " << options.output.string() << "\n";
}

}  // namespace

void add_data(CLI::App& app) {
  auto* command = app.add_subcommand("data", "List, download, check and show the data sets");
  command->require_subcommand(0, 1);
  command->callback([command] {
    if (command->get_subcommands().empty()) throw UsageError("data: expected list, get, verify or show");
  });
  const auto options = std::make_shared<Options>();
  const auto add_name = [&](CLI::App* subcommand) {
    subcommand->add_option("name", options->name, "The data set; `anact data list` has them")->required();
  };
  const auto add_data_path = [&](CLI::App* subcommand) {
    subcommand->add_option("--data-path", options->data_path,
                           "The set's own folder; default: looked for in the data folders");
  };

  auto* listing = command->add_subcommand("list", "List the data sets and where they are");
  listing->callback([] { list(); });

  auto* getting = command->add_subcommand("get", "Download a data set; what had come before is not fetched again");
  add_name(getting);
  getting->add_option("--url", options->url,
                      "Another place that has the same files: the folder's address with a slash "
                      "at the end, or an archive's own");
  getting->add_option("--output", options->output,
                      "The data folder; default: the one that ANACT_DATA names, else the build's own");
  getting->callback([options] { get(*options); });

  auto* verifying = command->add_subcommand("verify", "Check a data set's digests and read all of it");
  add_name(verifying);
  add_data_path(verifying);
  verifying->callback([options] { verify(*options); });

  auto* showing = command->add_subcommand("show", "Write a page of samples, as they are and after augmentation");
  add_name(showing);
  add_data_path(showing);
  showing->add_option("--output", options->output, "The HTML file")->required();
  auto& sheet = options->sheet;
  showing->add_option("--count", sheet.count, "Number of samples")->capture_default_str();
  showing->add_option("--seed", sheet.seed, "Seed of the choice and the augmentation")->capture_default_str();
  showing->add_option("--split", options->split, "Which samples")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  showing->add_option("--crop-padding", sheet.augmentation.crop_padding, "Crop after so many black pixels were added")
      ->capture_default_str();
  showing->add_flag("--flip", sheet.augmentation.flip, "Flip half of the images");
  showing->add_flag("--resized-crop", sheet.augmentation.resized_crop, "Crop a part and scale it");
  showing->add_option("--erasing", sheet.augmentation.erasing, "Probability that a rectangle is erased")
      ->capture_default_str();
  showing->callback([options] { show(*options); });
}

}  // namespace anact::cli
