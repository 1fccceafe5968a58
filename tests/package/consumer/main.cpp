#include <anact/anact.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

int main() {
  torch::nn::Sequential net(torch::nn::Linear(8, 8), anact::nn::ANAct("silu"), torch::nn::Linear(8, 1));
  net->forward(at::randn({16, 8})).mean().backward();
  return net[1]->parameters().at(0).grad().defined() ? 0 : 1;
}
