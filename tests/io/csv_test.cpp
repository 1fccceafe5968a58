#include "io/csv.h"

#include <gtest/gtest.h>

namespace anact::io {
namespace {

TEST(CsvField, QuotesOnlyWhatNeedsIt) {
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("elu(alpha=0.5)"), "elu(alpha=0.5)");
  EXPECT_EQ(csv_field("hardtanh(min_val=-2, max_val=2)"), "\"hardtanh(min_val=-2, max_val=2)\"");
  EXPECT_EQ(csv_field("a \"b\""), "\"a \"\"b\"\"\"");
  EXPECT_EQ(csv_field("a\nb"), "\"a\nb\"");
}

}  // namespace
}  // namespace anact::io
