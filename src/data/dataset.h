// A labelled data set in memory, split into training and test samples.
#pragma once

#include <torch/types.h>

#include <string>

namespace anact::data {

struct Samples {
  torch::Tensor inputs;  // float32, samples x features
  torch::Tensor labels;  // int64, samples

  [[nodiscard]] std::int64_t size() const { return labels.size(0); }
};

struct Dataset {
  std::string name;
  std::int64_t classes = 0;
  Samples train;
  Samples test;
  std::string source;    // the file that was read
  std::string checksum;  // CRC-32 of its uncompressed content, 8 hexadecimal digits
};

}  // namespace anact::data
