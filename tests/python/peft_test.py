"""peft: what an adapter has to save of a model with ANAct."""

import copy

import pytest
import torch
from torch import nn

from anact import ANAct

torch.set_num_threads(1)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = (
            nn.Linear(8, 16),
            ANAct("silu"),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.last(self.act(self.first(x)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("saved", [None, ["act"]])
def test_modules_to_save_names_each_anact(torchvision, tmp_path, saved):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = Network()
    config = peft.LoraConfig(target_modules=["first", "last"], modules_to_save=saved)
    model = peft.get_peft_model(copy.deepcopy(base), config)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3
    )
    for _ in range(20):
        optimizer.zero_grad()
        model(2 * torch.randn(32, 8)).square().sum().backward()
        optimizer.step()
    x = torch.randn(5, 8)
    want = model.eval()(x)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    assert torch.equal(loaded(x), want) == (saved is not None)
    alphas = [p for name, p in model.named_parameters() if "alpha" in name]
    assert any(p.requires_grad for p in alphas) == (saved is not None)
