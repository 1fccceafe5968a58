#include "models/weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "models/catalogue.h"
#include "models/networks.h"
#include "support/message.h"
#include "support/python.h"
#include "support/temporary_folder.h"

namespace anact::models {
namespace {

using namespace test;
using anact::test::content_of;
using anact::test::names_in;
using anact::test::TemporaryFolder;

std::shared_ptr<Network> make(ActivationFactory activation, std::uint64_t seed, std::int64_t classes = 5) {
  const auto network = make_network({.name = "cnn",
                                     .channels = 3,
                                     .height = 8,
                                     .width = 8,
                                     .classes = classes,
                                     .widths = {4, 6},
                                     .blocks = 1,
                                     .norm = Norm::batch,
                                     .activation = std::move(activation)});
  network->initialize({}, generator(seed));
  return network;
}

std::map<std::string, torch::Tensor> copy_of(const NamedTensors& tensors) {
  std::map<std::string, torch::Tensor> result;
  for (const auto& [name, tensor] : tensors) result[name] = tensor.detach().clone();
  return result;
}

void expect_equal(const NamedTensors& found, const std::map<std::string, torch::Tensor>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : found) {
    EXPECT_EQ(tensor.scalar_type(), expected.at(name).scalar_type()) << name;
    EXPECT_TRUE(tensor.equal(expected.at(name))) << name;
  }
}

TEST(State, NamesParametersAndBuffersInPyTorchsOrder) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state(*make(normalized("silu"), 1))) names.push_back(name);
  std::vector<std::string> expected;
  for (const std::string place : {"0", "1"}) {
    expected.push_back("conv" + place + ".weight");
    for (const char* part : {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
      expected.push_back("norm" + place + "." + part);
    }
    for (const char* part : {"alpha", "output_mean", "output_square", "input_variance", "backward_gain",
                             "num_batches_tracked", "num_batches_skipped"}) {
      expected.push_back("activation" + place + "." + part);
    }
  }
  expected.insert(expected.end(), {"output.weight", "output.bias"});
  EXPECT_EQ(names, expected);
}

TEST(Weights, ANetworkIsReadBack) {
  const TemporaryFolder folder;
  const auto network = make(normalized("silu"), 1);
  network->forward(images(7, 3, 8));  // moves the statistics
  save_tensors(folder / "file", state(*network));
  const auto other = make(normalized("silu"), 2);
  EXPECT_FALSE(state(*other).front().second.equal(state(*network).front().second));
  EXPECT_TRUE(load_weights(*other, folder / "file").empty());
  expect_equal(state(*other), copy_of(state(*network)));
  const auto input = images(2, 3, 8);
  network->eval();
  other->eval();
  EXPECT_TRUE(network->forward(input).equal(other->forward(input)));
  // The parameters are still what an optimizer can train.
  for (const auto& parameter : other->parameters()) EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad());
}

TEST(Weights, LayoutAndDtypeAreTheModules) {
  const TemporaryFolder folder;
  const auto network = make(plain("silu"), 1);
  auto expected = copy_of(state(*network));
  for (auto& parameter : network->parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
  }
  save_tensors(folder / "file", state(*network));
  const auto other = make(plain("silu"), 2);
  other->to(torch::kDouble);
  for (auto& parameter : other->parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
  }
  load_weights(*other, folder / "file");
  for (auto& [name, tensor] : expected) tensor = tensor.to(torch::kDouble);
  expect_equal(state(*other), expected);
  EXPECT_TRUE(other->parameters().front().is_contiguous(torch::MemoryFormat::ChannelsLast));
}

TEST(Weights, OnesTrainedWithoutANActAreABeginning) {
  const TemporaryFolder folder;
  const auto trained = make(plain("silu"), 1);
  save_tensors(folder / "file", state(*trained));
  const auto network = make(normalized("silu"), 2);
  network->forward(images(7, 3, 8));
  auto expected = copy_of(state(*network));
  for (const auto& [name, tensor] : state(*trained)) expected[name] = tensor.detach().clone();
  const auto kept = load_weights(*network, folder / "file");
  expect_equal(state(*network), expected);
  ASSERT_EQ(kept.size(), 14u);
  EXPECT_EQ(kept.front(), "activation0.alpha");
  EXPECT_EQ(kept.back(), "activation1.num_batches_skipped");
}

TEST(Weights, OfAnotherActivationOrOtherOptionsAreRefused) {
  const TemporaryFolder folder;
  const auto path = (folder / "file").string();
  const auto network = make(normalized("silu"), 1);
  save_tensors(path, state(*network), description(*network));
  EXPECT_TRUE(load_weights(*make(normalized("silu"), 2), path).empty());
  const auto other = make(normalized("gelu"), 2);
  const auto before = copy_of(state(*other));
  EXPECT_EQ(message([&] { load_weights(*other, path); }),
            "'" + path +
                "': of activation0: it was saved by ANAct(silu) and is to be loaded into ANAct(gelu), of activation1: "
                "it was saved by ANAct(silu) and is to be loaded into ANAct(gelu)");
  expect_equal(state(*other), before);

  // As Python's state_dict has it.
  auto tensors = state(*network);
  const std::string text = "silu:momentum=0.5";
  const auto bytes = torch::empty({static_cast<std::int64_t>(text.size())}, torch::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  tensors.emplace_back("activation0._extra_state", bytes);
  save_tensors(path, tensors);
  const auto complaint = message([&] { load_weights(*make(normalized("silu"), 2), path); });
  EXPECT_NE(
      complaint.find("of activation0: it was saved by ANAct(silu, momentum=0.5) and is to be loaded into ANAct(silu)"),
      std::string::npos)
      << complaint;
}

TEST(Weights, SaysWhatDoesNotFitAndChangesNothing) {
  const TemporaryFolder folder;
  const auto path = (folder / "file").string();
  const auto network = make(normalized("silu"), 2);
  const auto before = copy_of(state(*network));
  const auto complaint = [&](const NamedTensors& tensors) {
    save_tensors(path, tensors);
    return message([&] { load_weights(*network, path); });
  };
  auto tensors = state(*make(normalized("silu"), 1));
  EXPECT_EQ(complaint(state(*make(normalized("silu"), 1, 7))),
            "'" + path + "': output.weight is 7x6, expected 5x6, output.bias is 7, expected 5");
  auto spare = tensors;
  spare.emplace_back("head.weight", torch::zeros({}));
  EXPECT_EQ(complaint(spare), "'" + path + "': the network has no place for head.weight");
  auto few = tensors;
  few.erase(few.begin() + 1, few.begin() + 6);
  EXPECT_EQ(complaint(few), "'" + path + "': it lacks norm0.weight, norm0.bias, norm0.running_mean and 2 more");
  few.emplace_back("x", torch::zeros(3));
  few.front().second = torch::zeros({});
  EXPECT_EQ(complaint(few), "'" + path +
                                "': it lacks norm0.weight, norm0.bias, norm0.running_mean and 2 more; the network has "
                                "no place for x; conv0.weight is a scalar, expected 4x3x3x3");
  // The reverse of the above: what ANAct learnt would be lost.
  save_tensors(path, tensors);
  const auto plain_network = make(plain("silu"), 3);
  EXPECT_EQ(message([&] { load_weights(*plain_network, path); }),
            "'" + path +
                "': the network has no place for activation0.alpha, activation0.backward_gain, "
                "activation0.input_variance and 11 more");
  expect_equal(state(*network), before);
}

TEST(Weights, SaysWhyAFileCannotBeRead) {
  const TemporaryFolder folder;
  const auto network = make(plain("silu"), 1);
  save_tensors(folder / "file", state(*network));
  auto content = content_of(folder / "file");
  content.back() = static_cast<char>(content.back() ^ 1);
  const auto path = folder.write("file", content);
  EXPECT_TRUE(
      message([&] { load_weights(*network, path); }).starts_with("'" + path.string() + "': the tensors' CRC-32"));
  EXPECT_TRUE(message([&] { load_weights(*network, folder / "none"); }).starts_with("cannot open '"));
}

TEST(SaveTensors, RefusesADtypeThatTheFormatHasNot) {
  const TemporaryFolder folder;
  EXPECT_THROW(save_tensors(folder / "file", {{"a", torch::zeros(2, torch::kComplexFloat)}}), std::invalid_argument);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

// Of every dtype one tensor with the values that safetensors_exchange.py gives it.
NamedTensors every_dtype() {
  NamedTensors tensors;
  for (const auto& [name, dtype] : std::vector<std::pair<std::string, torch::Dtype>>{{"float64", torch::kDouble},
                                                                                     {"float32", torch::kFloat},
                                                                                     {"float16", torch::kHalf},
                                                                                     {"bfloat16", torch::kBFloat16},
                                                                                     {"int64", torch::kLong},
                                                                                     {"int32", torch::kInt},
                                                                                     {"int16", torch::kShort},
                                                                                     {"int8", torch::kChar},
                                                                                     {"uint8", torch::kByte},
                                                                                     {"bool", torch::kBool}}) {
    const auto values = torch::arange(15, torch::kDouble).reshape({3, 5});
    const bool is_float = c10::isFloatingType(dtype);
    tensors.emplace_back(name, dtype == torch::kBool ? values.remainder(3).eq(0)
                               : is_float            ? (values / 3 - 1).to(dtype)
                                                     : values.to(dtype));
  }
  tensors.emplace_back("scalar", torch::tensor(2.5, torch::kDouble));
  tensors.emplace_back("empty", torch::zeros({0, 4}));
  tensors.emplace_back("special", torch::tensor({std::nan(""), HUGE_VAL, -HUGE_VAL, -0.0, 1e-310}, torch::kDouble));
  return tensors;
}

void expect_same_bits(const NamedTensors& found) {
  const auto expected = copy_of(every_dtype());
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : found) {
    const auto& other = expected.at(name);
    EXPECT_EQ(tensor.scalar_type(), other.scalar_type()) << name;
    EXPECT_EQ(tensor.sizes(), other.sizes()) << name;
    const auto bits = [](const torch::Tensor& t) {
      return std::string(static_cast<const char*>(t.const_data_ptr()), t.nbytes());
    };
    EXPECT_EQ(bits(tensor), bits(other)) << name;
  }
}

TEST(SaveTensors, EveryDtypeIsReadBack) {
  const TemporaryFolder folder;
  save_tensors(folder / "file", every_dtype());
  expect_same_bits(tensors_of(io::Safetensors(folder / "file")));
  // Any layout is written row by row.
  save_tensors(folder / "file", {{"a", torch::arange(6).reshape({2, 3}).t()}});
  EXPECT_TRUE(
      tensors_of(io::Safetensors(folder / "file")).front().second.equal(torch::tensor({{0, 3}, {1, 4}, {2, 5}})));
}

TEST(SaveTensors, PythonsSafetensorsReadsAndWritesTheSame) {
  const TemporaryFolder folder;
  save_tensors(folder / "from-here", every_dtype(), {{"text", "one\n\"two\" λ"}});
  ANACT_RUN_PYTHON(anact::test::script(__FILE__, "safetensors_exchange.py"), folder.path().string());
  const io::Safetensors file(folder / "from-python");
  expect_same_bits(tensors_of(file));
  EXPECT_EQ(file.metadata(), (io::Metadata{{"format", "pt"}, {"text", "one\n\"two\" λ"}}));
}

}  // namespace
}  // namespace anact::models
