// Parts of a data set, drawn at random.
#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace anact::data {

struct SubsetOptions {
  std::int64_t train = 0;  // samples; 0, or as many as there are: all
  std::int64_t test = 0;   // the same
  double validation = 0;   // the share of the training samples that is split off, in [0, 1)
  std::uint64_t seed = 0;
};

// The dataset with the samples that the options leave, in their old order. The validation samples are drawn first, from
// all training samples, and the training samples out of the rest. Each draw is stratified: every class keeps its share
// to within one sample. What is drawn depends on the labels and the seed alone. Pixels are not copied. Throws
// std::invalid_argument when nothing would be left to train on, or nothing split off although a share is wanted.
[[nodiscard]] Dataset subset(Dataset dataset, const SubsetOptions& options);

}  // namespace anact::data
