// A network's state goes to the Python package and back.

#include "support/python.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

#include "anact/nn.h"
#include "support/temporary_folder.h"

namespace anact::nn {
namespace {

using anact::test::content_of;
using anact::test::script;
using anact::test::TemporaryFolder;

torch::nn::Sequential make_network() {
  return torch::nn::Sequential(torch::nn::Linear(7, 9),
                               ANAct(ANActOptions("gelu(approximate=tanh)").solution(Solution::exact).momentum(0.3)),
                               torch::nn::Linear(9, 5), ANAct(ANActOptions("relu").learnable(false)));
}

void train(torch::nn::Sequential& net, const torch::Tensor& x) {
  torch::optim::SGD optimizer(net->parameters(), 0.1);
  optimizer.zero_grad();
  net->train();
  net->forward(x).square().mean().backward();
  optimizer.step();
}

// What torch.save wrote of a dictionary.
c10::impl::GenericDict load_dictionary(const std::filesystem::path& path) {
  const auto bytes = content_of(path);
  return torch::pickle_load(std::vector<char>(bytes.begin(), bytes.end())).toGenericDict();
}

TEST(PythonPackage, TakesTheStateOfCppAndGivesItBack) {
  torch::manual_seed(3);
  torch::set_num_threads(1);
  const TemporaryFolder folder;
  auto net = make_network();
  const auto x = torch::randn({33, 7}) * 2 + 1;
  for (int step = 0; step < 3; ++step) train(net, x);
  torch::save(net, (folder.path() / "network.pt").string());
  torch::save(x, (folder.path() / "input.pt").string());
  ANACT_RUN_PYTHON(script(__FILE__, "python_exchange.py"), ANACT_PYTHON_PACKAGE, folder.path().string());

  const torch::NoGradGuard no_grad;
  net->eval();
  EXPECT_TRUE(torch::equal(load_dictionary(folder.path() / "output.pt").at("y").toTensor(), net->forward(x)));

  auto taken = make_network();
  const auto state = load_dictionary(folder.path() / "state.pt");
  std::size_t used = 0;
  for (const auto& named : {taken->named_parameters(), taken->named_buffers()}) {
    for (const auto& item : named) {
      ASSERT_TRUE(state.contains(item.key())) << item.key();
      const auto value = state.at(item.key()).toTensor();
      EXPECT_EQ(value.sizes(), item.value().sizes()) << item.key();
      EXPECT_EQ(value.scalar_type(), item.value().scalar_type()) << item.key();
      item.value().copy_(value);
      ++used;
    }
  }
  for (const auto& item : taken->named_modules()) {
    const auto* act = item.value()->as<ANActImpl>();
    if (act == nullptr) continue;
    const auto bytes = state.at(item.key() + "._extra_state").toTensor();
    const std::string text(reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()), bytes.nbytes());
    EXPECT_EQ(mismatch(act->options, text), "");
    ++used;
  }
  EXPECT_EQ(used, state.size());
  taken->eval();
  EXPECT_TRUE(torch::equal(load_dictionary(folder.path() / "trained.pt").at("y").toTensor(), taken->forward(x)));

  // The step that Python took is the one that C++ takes.
  {
    const torch::AutoGradMode grad(true);
    train(net, x);
  }
  net->eval();
  EXPECT_TRUE(torch::allclose(net->forward(x), taken->forward(x), 1e-5, 1e-6));
}

}  // namespace
}  // namespace anact::nn
