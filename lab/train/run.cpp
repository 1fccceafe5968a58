#include "train/run.h"

#include <torch/nn/functional/loss.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "data/digest.h"
#include "data/subset.h"
#include "io/epoch_metrics.h"
#include "io/json_lines.h"
#include "models/weights.h"
#include "text/words.h"
#include "train/autocast.h"
#include "train/probing.h"
#include "train/random.h"

namespace anact::train {
namespace {

constexpr std::int64_t kEvaluationBatch = 512;
// How often a step is logged.
constexpr std::int64_t kLogSteps = 100;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// "1-nrelu_solution=exact-seed3": unique by the arm's index, whatever its name holds.
std::string make_label(const std::string& arm, std::size_t index, std::int64_t seed) {
  std::string label = std::to_string(index) + "-";
  for (const char c : arm) {
    const bool plain =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '=' || c == '-';
    label += plain ? c : '_';
  }
  return label.substr(0, 80) + "-seed" + std::to_string(seed);
}

models::NetworkOptions network_options(const Config& config, const data::Dataset& dataset, const Arm& arm) {
  return arm.applied_to({.name = config.model,
                         .channels = dataset.shape.channels,
                         .height = dataset.shape.height,
                         .width = dataset.shape.width,
                         .classes = dataset.classes(),
                         .depth = config.depth,
                         .units = config.width,
                         .widths = config.widths,
                         .blocks = config.blocks,
                         .norm = config.batch_norm ? std::optional(models::Norm::batch) : std::nullopt,
                         .stem = models::parse_stem(config.stem),
                         .activation = {}});
}

data::LoaderOptions loader_options(const Config& config, bool training) {
  data::LoaderOptions options{.batch_size = training ? config.batch_size : kEvaluationBatch,
                              .workers = static_cast<int>(config.workers),
                              .augmentation = {},
                              .channels_last = config.channels_last,
                              .scale = config.input_scale,
                              .shift = config.input_shift};
  if (training) options.augmentation = config.augmentation();
  return options;
}

// A last batch of one sample has no variance for BatchNorm, and is left out.
std::int64_t samples_per_epoch(std::int64_t samples, std::int64_t batch_size) {
  return samples > 1 && samples % batch_size == 1 ? samples - 1 : samples;
}

Schedule make_schedule(const Config& config, double learning_rate, std::int64_t samples) {
  const auto steps_per_epoch = (samples + config.batch_size - 1) / config.batch_size;
  Schedule schedule{
      .kind = parse_schedule(config.schedule),
      .learning_rate = learning_rate,
      .steps =
          config.steps > 0 ? std::min(config.steps, steps_per_epoch * config.epochs) : steps_per_epoch * config.epochs,
      .warmup_steps = std::llround(config.warmup_epochs * static_cast<double>(steps_per_epoch)),
      .milestones = {},
      .gamma = config.gamma,
  };
  for (const auto epoch : config.milestones) schedule.milestones.push_back(epoch * steps_per_epoch);
  return schedule;
}

void to_channels_last(torch::nn::Module& network) {
  for (auto& parameter : network.parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.detach().contiguous(torch::MemoryFormat::ChannelsLast));
  }
}

void scale_weights(models::Network& network, double factor) {
  const torch::NoGradGuard no_grad;
  const auto parameters = network.named_parameters();
  for (const auto& path : network.main_path()) parameters[path + ".weight"].mul_(factor);
}

// Where the data lie makes no difference.
std::string origin_of(Config config, const data::Dataset& dataset) {
  config.data_path.clear();
  return data::text_digest(to_toml(config) + dataset.checksum, "sha256");
}

bool parameters_finite(const torch::nn::Module& module) {
  return std::ranges::all_of(module.parameters(), [](const torch::Tensor& parameter) {
    return std::isfinite(parameter.detach().sum().item<double>());
  });
}

std::int64_t skipped_batches(const torch::nn::Module& network) {
  std::int64_t total = 0;
  for (const auto* normalized : anact_modules(network)) total += normalized->num_batches_skipped.item<std::int64_t>();
  return total;
}

double correct(const torch::Tensor& logits, const torch::Tensor& labels) {
  return logits.argmax(1).eq(labels).sum().item<double>();
}

double correct_among_five(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto best = std::get<1>(logits.topk(std::min<std::int64_t>(5, logits.size(1)), 1));
  return best.eq(labels.unsqueeze(1)).any(1).sum().item<double>();
}

std::vector<std::int64_t> in_order(std::int64_t samples) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(samples));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

}  // namespace

Run::Run(const RunContext& context, const Arm& arm, std::int64_t seed, std::size_t arm_index, Progress progress)
    : context_(context),
      config_(context.config),
      arm_(arm),
      seed_(seed),
      label_(make_label(arm.name, arm_index, seed)),
      origin_(origin_of(context.config, context.dataset)),
      progress_(std::move(progress)),
      device_(config_.device == "cuda" ? torch::kCUDA : torch::kCPU),
      network_(models::make_network(network_options(config_, context.dataset, arm))),
      training_(context.dataset, context.dataset.train, loader_options(config_, true)),
      validation_(context.dataset, context.dataset.validation, loader_options(config_, false)),
      test_(context.dataset, context.dataset.test, loader_options(config_, false)),
      samples_(samples_per_epoch(context.dataset.train.size(), config_.batch_size)),
      schedule_(make_schedule(config_, arm.learning_rate.value_or(config_.learning_rate), samples_)) {
  progress_.arm = arm.name;
  progress_.seed = seed;
  progress_.epochs = config_.epochs;
  progress_.steps = schedule_.steps;
  network_->initialize(arm.weights(), generator(seed, Purpose::weights));
  if (config_.weight_scale != 1) scale_weights(*network_, config_.weight_scale);
  if (!config_.weights.empty()) load_network(*network_, config_.weights);
  if (config_.channels_last) to_channels_last(*network_);
  network_->to(device_);
  optimizer_ = make_optimizer(*network_, config_);

  if (const auto count = std::min(config_.layer_samples, context.dataset.train.size()); count > 0) {
    auto options = loader_options(config_, false);
    options.batch_size = count;
    options.workers = 0;
    // A folder's images come class by class.
    const auto drawn = data::subset(context.dataset, {.train = count});
    data::Loader loader(drawn, drawn.train, options);
    loader.start(0, 0, in_order(count));
    const auto views = to_tensors(*loader.next(), context.dataset.shape, config_.channels_last, device_);
    layer_samples_ = Tensors{.inputs = views.inputs.clone(), .labels = views.labels.clone()};
  }
}

void Run::rehearse() {
  network_->train();
  start_epoch(1, 0);
  train_step(to_tensors(*training_.next(), context_.dataset.shape, config_.channels_last, device_));
}

std::optional<Sizes> Run::resume() {
  const auto checkpoint = latest_checkpoint(context_.folder / "checkpoints" / label_);
  if (!checkpoint) return std::nullopt;
  state_ = load_checkpoint(*checkpoint, label_, *network_, *optimizer_);
  if (!state_.origin.empty() && state_.origin != origin_) {
    throw std::runtime_error("checkpoint '" + checkpoint->string() + "': of a training with other settings or data");
  }
  progress_.step = state_.step;
  resumed_ = true;
  return state_.sizes;
}

bool Run::wants_checkpoints() const { return config_.checkpoint_epochs > 0 || config_.checkpoint_minutes > 0; }

bool Run::reached_steps() const { return config_.steps > 0 && state_.step >= config_.steps; }

bool Run::train(RunFolder& out) {
  const auto start = Clock::now();
  const double seconds_before = state_.run_seconds;
  out_ = &out;
  context_.observer.run_started(*network_, progress_);
  if (config_.tensorboard) {
    const auto folder = context_.folder / "tensorboard" / label_;
    std::filesystem::create_directories(folder);
    // A fixed name: a run that goes on must find its file again. One that was removed is begun anew.
    const auto file = folder / "events.out.tfevents.0.anact";
    const bool goes_on = resumed_ && std::filesystem::exists(file);
    events_ = std::make_unique<io::EventFile>(file, goes_on ? std::optional(state_.events) : std::nullopt);
  }
  if (resumed_) {
    progress_.epoch = state_.epoch;
    evaluation_ = evaluate(test_, context_.dataset.test);
    progress_.test_accuracy = evaluation_.accuracy;
  } else {
    record_epoch(0);
  }
  while (divergence_.empty() && state_.epoch < config_.epochs && !reached_steps()) {
    const bool whole = train_epoch(state_.epoch + 1);
    state_.run_seconds = seconds_before + seconds_since(start);
    if (!divergence_.empty()) break;
    if (!whole) {
      if (wants_checkpoints()) save_checkpoint();
      return false;
    }
    record_epoch(state_.epoch + 1);
    const bool due = config_.checkpoint_epochs > 0 && (state_.epoch + 1) % config_.checkpoint_epochs == 0;
    state_ = {.epoch = state_.epoch + 1,
              .step = state_.step,
              .best_accuracy = state_.best_accuracy,
              .run_seconds = state_.run_seconds};
    if (due && divergence_.empty()) save_checkpoint();
  }
  const bool diverged = !divergence_.empty();
  out.event(event("finished",
                  {{"status", diverged ? "diverged" : "completed"}, {"skipped_batches", skipped_batches(*network_)}}));
  if (config_.save_weights && !diverged) save_weights("last");
  if (events_) events_->flush();
  context_.observer.run_ended(progress_, {.arm = arm_.name,
                                          .seed = seed_,
                                          .diverged = diverged,
                                          .divergence = divergence_,
                                          .test_accuracy = evaluation_.accuracy,
                                          .test_loss = evaluation_.loss,
                                          .seconds = seconds_before + seconds_since(start)});
  return true;
}

nlohmann::json Run::event(const char* kind, const nlohmann::json& members) const {
  nlohmann::json result{{"event", kind}, {"arm", arm_.name}, {"seed", seed_}};
  result.update(members);
  return result;
}

void Run::scalar(std::string_view tag, std::int64_t step, double value) {
  if (events_) events_->add_scalar(tag, step, value, wall_time());
}

void Run::diverge(std::int64_t epoch, const std::string& reason) {
  divergence_ = "epoch " + std::to_string(epoch) + ", step " + std::to_string(progress_.step) + ": " + reason;
  out_->event(event("diverged", {{"epoch", epoch}, {"step", progress_.step}, {"reason", reason}}));
  out_->log("arm=" + arm_.name + " seed=" + std::to_string(seed_) + " diverged at " + divergence_);
}

void Run::start_epoch(std::int64_t epoch, std::int64_t batches) {
  const auto permutation =
      torch::randperm(context_.dataset.train.size(), generator(seed_, Purpose::order, epoch), torch::kLong);
  const auto* first = permutation.const_data_ptr<std::int64_t>();
  training_.start(static_cast<std::uint64_t>(seed_), static_cast<std::uint64_t>(epoch), {first, first + samples_},
                  batches);
}

bool Run::train_epoch(std::int64_t epoch) {
  auto start = Clock::now();
  double seconds_before = state_.seconds;
  double waited_before = state_.seconds_waited - training_.seconds_waited();
  const auto keep_time = [&] {
    state_.seconds = seconds_before + seconds_since(start);
    state_.seconds_waited = waited_before + training_.seconds_waited();
  };
  progress_.epoch = epoch;
  network_->train();
  start_epoch(epoch, state_.batch);
  while (const auto* batch = training_.next()) {
    if (context_.stop) {
      keep_time();
      return false;
    }
    train_step(to_tensors(*batch, context_.dataset.shape, config_.channels_last, device_));
    if (!std::isfinite(progress_.loss)) {
      diverge(epoch, "the training loss is " + io::number(progress_.loss).get<std::string>());
      return false;
    }
    ++state_.batch;
    context_.observer.step(progress_);
    keep_time();
    if (state_.step % kLogSteps == 0) log_step(epoch);
    if (reached_steps()) break;
    if (config_.checkpoint_minutes > 0 && seconds_since(checkpoint_time_) >= 60 * config_.checkpoint_minutes) {
      save_checkpoint();
      // Writing it is not training.
      start = Clock::now();
      seconds_before = state_.seconds;
    }
  }
  if (!parameters_finite(*network_)) {
    diverge(epoch, "a parameter is not finite");
    return false;
  }
  keep_time();
  return true;
}

void Run::train_step(const Tensors& batch) {
  using torch::nn::functional::cross_entropy;
  const auto options = torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(config_.label_smoothing);
  ++state_.step;
  progress_.step = state_.step;
  progress_.loss = 0;
  double right = 0;
  // Each part has two samples at least, for BatchNorm.
  const auto parts = std::clamp<std::int64_t>(batch.size() / 2, 1, config_.accumulate);
  for (std::int64_t i = 0; i < parts; ++i) {
    const auto part = parts == 1 ? batch : batch.slice(i * batch.size() / parts, (i + 1) * batch.size() / parts);
    torch::Tensor logits;
    {
      const Autocast autocast(device_.type(), config_.precision == "bfloat16");
      logits = network_->forward(part.inputs);
    }
    logits = logits.to(torch::kFloat);
    const auto labels = labels_of(part.labels);
    auto loss = cross_entropy(logits, labels, options);
    if (part.mixed_labels.defined()) {
      loss = part.weight * loss + (1 - part.weight) * cross_entropy(logits, labels_of(part.mixed_labels), options);
    }
    const double share = static_cast<double>(part.size()) / static_cast<double>(batch.size());
    const double value = loss.item<double>();
    progress_.loss += parts == 1 ? value : share * value;
    if (!std::isfinite(progress_.loss)) return;
    if (i == 0) optimizer_->zero_grad();
    (parts == 1 ? loss : loss * share).backward();
    right += correct(logits.detach(), labels);
  }
  if (config_.clip_norm > 0) optimizer_->clip_gradients(config_.clip_norm);
  optimizer_->step(learning_rate(state_.step - 1));
  state_.loss += progress_.loss * static_cast<double>(batch.size());
  state_.correct += right;
  state_.samples += batch.size();
}

void Run::log_step(std::int64_t epoch) {
  const double rate = learning_rate(state_.step - 1);
  out_->log(text::format("arm=%s seed=%lld epoch=%lld/%lld step=%lld/%lld lr=%.6g loss=%.6f images/s=%.1f",
                         arm_.name.c_str(), static_cast<long long>(seed_), static_cast<long long>(epoch),
                         static_cast<long long>(config_.epochs), static_cast<long long>(state_.step),
                         static_cast<long long>(schedule_.steps), rate, progress_.loss,
                         static_cast<double>(state_.samples) / state_.seconds));
  scalar("step/loss", state_.step, progress_.loss);
  scalar("step/learning_rate", state_.step, rate);
}

torch::Tensor Run::labels_of(const torch::Tensor& labels) const {
  if (config_.relabel_after == 0 || progress_.epoch <= config_.relabel_after) return labels;
  return (labels + 1).remainder(context_.dataset.classes());
}

Run::Evaluation Run::evaluate(data::Loader& loader, const data::Samples& samples) {
  const torch::NoGradGuard no_grad;
  network_->eval();
  loader.start(0, 0, in_order(samples.size()));
  Evaluation result;
  while (const auto* batch = loader.next()) {
    const auto tensors = to_tensors(*batch, context_.dataset.shape, config_.channels_last, device_);
    torch::Tensor logits;
    {
      const Autocast autocast(device_.type(), config_.precision == "bfloat16");
      logits = network_->forward(tensors.inputs);
    }
    logits = logits.to(torch::kFloat);
    const auto labels = labels_of(tensors.labels);
    const auto loss = torch::nn::functional::cross_entropy(logits, labels).item<double>();
    result.loss += loss * static_cast<double>(tensors.size());
    result.accuracy += correct(logits, labels);
    result.top5 += correct_among_five(logits, labels);
  }
  network_->train();
  const auto count = static_cast<double>(samples.size());
  result.loss /= count;
  result.accuracy /= count;
  result.top5 /= count;
  return result;
}

void Run::record_epoch(std::int64_t epoch) {
  evaluation_ = evaluate(test_, context_.dataset.test);
  std::optional<Evaluation> validation;
  if (context_.dataset.validation.size() > 0) validation = evaluate(validation_, context_.dataset.validation);
  // What choices are made by.
  const double deciding = validation ? validation->accuracy : evaluation_.accuracy;
  if (!std::isfinite(evaluation_.loss)) {
    diverge(epoch, "the test loss is " + io::number(evaluation_.loss).get<std::string>());
    return;
  }
  progress_.test_accuracy = evaluation_.accuracy;
  const double rate = learning_rate(std::max<std::int64_t>(0, state_.step - 1));
  io::EpochMetrics metrics;
  metrics.learning_rate = rate;
  if (validation) {
    metrics.validation_loss = validation->loss;
    metrics.validation_accuracy = validation->accuracy;
  }
  metrics.test_loss = evaluation_.loss;
  metrics.test_accuracy = evaluation_.accuracy;
  metrics.test_top5 = evaluation_.top5;
  std::string line =
      text::format("arm=%s seed=%lld epoch=%lld/%lld step=%lld/%lld lr=%.6g", arm_.name.c_str(),
                   static_cast<long long>(seed_), static_cast<long long>(epoch), static_cast<long long>(config_.epochs),
                   static_cast<long long>(state_.step), static_cast<long long>(schedule_.steps), rate);
  if (epoch > 0) {
    const auto samples = static_cast<double>(state_.samples);
    const double loss = state_.loss / samples, accuracy = state_.correct / samples;
    metrics.train_loss = loss;
    metrics.train_accuracy = accuracy;
    metrics.seconds = state_.seconds;
    metrics.seconds_waited = state_.seconds_waited;
    scalar("train/images_per_second", epoch, samples / state_.seconds);
    line += text::format(" train_loss=%.6f train_acc=%.4f images/s=%.1f waited=%.2f%% seconds=%.1f", loss, accuracy,
                         samples / state_.seconds, 100 * state_.seconds_waited / state_.seconds, state_.seconds);
    if (config_.save_weights && deciding > state_.best_accuracy) save_weights("best");
    state_.best_accuracy = std::max(state_.best_accuracy, deciding);
  }
  nlohmann::json members{{"epoch", epoch}, {"step", state_.step}};
  for (const auto& metric : io::kMetrics) {
    const auto value = metric.of(metrics);
    if (!value) continue;
    members[std::string(metric.name)] = *value;
    if (!metric.tag.empty()) scalar(metric.tag, epoch, *value);
  }
  out_->event(event("epoch", members));
  if (validation) line += text::format(" val_loss=%.6f val_acc=%.4f", validation->loss, validation->accuracy);
  line += text::format(" test_loss=%.6f test_acc=%.4f test_top5=%.4f", evaluation_.loss, evaluation_.accuracy,
                       evaluation_.top5);
  out_->log(line);
  if (layer_samples_) {
    const Autocast autocast(device_.type(), config_.precision == "bfloat16");
    auto layers = event("layers", measure_layers(*network_, layer_samples_->inputs, layer_samples_->labels));
    layers["epoch"] = epoch;
    out_->event(layers);
  }
  context_.observer.epoch_ended(line, state_.seconds);
}

void Run::save_weights(const char* name) const {
  const auto folder = context_.folder / "weights" / label_;
  std::filesystem::create_directories(folder);
  models::save_tensors(folder / (std::string(name) + ".safetensors"), models::state(*network_),
                       models::description(*network_));
}

void Run::save_checkpoint() {
  // What the checkpoint counts on must be on the disk before it.
  out_->flush();
  if (events_) events_->flush();
  state_.sizes = out_->sizes();
  state_.events = events_ ? events_->size() : 0;
  state_.origin = origin_;
  const auto folder = context_.folder / "checkpoints" / label_;
  train::save_checkpoint(checkpoint_path(folder, state_.step), label_, state_, *network_, *optimizer_);
  prune_checkpoints(folder, config_.keep);
  checkpoint_time_ = Clock::now();
}

}  // namespace anact::train
