#include "study/distance.h"

#include <cmath>

namespace anact::study {
namespace {

// A mean that leaves out what is not finite.
class Mean {
 public:
  void add(double value) {
    if (!std::isfinite(value)) return;
    sum_ += value;
    ++count_;
  }
  [[nodiscard]] double value() const { return count_ > 0 ? sum_ / count_ : kNotMeasured; }

 private:
  double sum_ = 0;
  double count_ = 0;
};

// Of the four distances.
struct Means {
  Mean forward_property, backward_property, forward_growth, backward_growth;

  [[nodiscard]] Distance distance() const {
    return {.forward_property = forward_property.value(),
            .backward_property = backward_property.value(),
            .forward_growth = forward_growth.value(),
            .backward_growth = backward_growth.value()};
  }
};

double distance(double ratio) { return std::abs(std::log(ratio)); }

// Of the records of one step, by layer.
Distance distance_in_step(std::span<const LayerRecord> records) {
  Means means;
  const LayerRecord* before = nullptr;
  for (const auto& record : records) {
    if (record.kind == LayerKind::activation) {
      means.forward_property.add(distance(record.forward_property));
      means.backward_property.add(distance(record.backward_property));
    }
    if (record.kind != LayerKind::linear && record.kind != LayerKind::convolution) continue;
    if (before != nullptr) {
      means.forward_growth.add(distance(record.output.second_moment / before->output.second_moment));
      means.backward_growth.add(distance(before->output_gradient.second_moment / record.output_gradient.second_moment));
    }
    before = &record;
  }
  return means.distance();
}

}  // namespace

Distance distance_of(std::span<const LayerRecord> records) {
  Means means;
  for (std::size_t begin = 0; begin < records.size();) {
    std::size_t end = begin;
    while (end < records.size() && records[end].step == records[begin].step) ++end;
    const auto of_step = distance_in_step(records.subspan(begin, end - begin));
    means.forward_property.add(of_step.forward_property);
    means.backward_property.add(of_step.backward_property);
    means.forward_growth.add(of_step.forward_growth);
    means.backward_growth.add(of_step.backward_growth);
    begin = end;
  }
  return means.distance();
}

}  // namespace anact::study
