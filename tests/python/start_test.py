"""First batches that say little: constants, one sample, another scale."""

import pytest
import torch
from oracle import STATISTICS
from torch import nn
from torch.nn import functional as F

import anact

torch.set_num_threads(1)

DUMMIES = {
    "zeros": lambda: torch.zeros(1, 64),
    "one sample": lambda: torch.randn(1, 64),
    "100 times": lambda: torch.randn(1, 64) * 100,
    "a hundredth": lambda: torch.randn(64, 64) * 0.01,
    "a constant": lambda: torch.full((1, 64), 0.447),
}


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 128)]
    for _ in range(20):
        layers += [nn.SiLU(), nn.Linear(128, 128)]
    net = nn.Sequential(*layers, nn.SiLU(), nn.Linear(128, 10))
    anact.convert_activations(net)
    anact.initialize(net)
    return net


def train(net, steps):
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.9)
    centres = torch.randn(10, 64)
    losses = []
    for _ in range(steps):
        label = torch.randint(0, 10, (64,))
        x = centres[label] + 0.5 * torch.randn(64, 64)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", DUMMIES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_dummy_batch_before_training_does_no_harm(kind, times):
    want = train(network(), 40)
    net = network()
    for _ in range(times):
        net(DUMMIES[kind]())
    losses = train(net, 40)
    assert losses[0] < 4
    assert losses[-1] < 2 * want[-1] + 0.05


def test_a_usual_start_is_the_mean_of_its_batches():
    act = anact.NSwish()
    torch.manual_seed(0)
    batches = [torch.randn(500) * (1 + 0.02 * i) for i in range(8)]
    for x in batches:
        act(x)
    means = torch.stack([x.var(correction=0) for x in batches]).mean()
    torch.testing.assert_close(act.input_variance, means)


def module(kind, activation):
    if kind == "own function":
        function = {"silu": F.silu, "relu": F.relu}[activation]
        return anact.ANAct(lambda x: function(x))
    return anact.ANAct(activation)


@pytest.mark.parametrize("kind", ["eager", "compiled", "operators", "own function"])
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("activation", "batch"),
    [
        ("silu", torch.zeros(5, 3)),
        ("silu", torch.full((4, 4), 0.7)),
        ("silu", torch.randn(1)),
        ("silu", torch.randn(7) * 1e-25),  # its variance is 0 in float32
        ("silu", torch.randn(7) * 1e25),  # and infinite here
        ("relu", -torch.rand(9) - 0.1),
    ],
    ids=["zeros", "constant", "one", "tiny", "huge", "dead"],
)
def test_a_batch_that_says_nothing_is_skipped_and_counted(
    kind, statistics, warm, activation, batch
):
    act = module(kind, activation)
    act.options = anact.ANActOptions(
        act.options.activation, act.options.derivative, statistics=statistics
    )
    call = {
        "compiled": torch.compile(act, backend="aot_eager"),
        "operators": lambda x: act._forward_operators(x, None),
    }.get(kind, act)
    if warm:
        torch.manual_seed(3)
        for _ in range(2):
            call(torch.randn(64))
    before = [getattr(act, name).item() for name in STATISTICS]
    scale, offset = act.affine()
    y = call(batch)
    assert [getattr(act, name).item() for name in STATISTICS] == before
    assert int(act.num_batches_skipped) == 1
    assert int(act.num_batches_tracked) == (2 if warm else 0)
    f = {"silu": F.silu, "relu": F.relu}[activation](batch)
    torch.testing.assert_close(y, scale * f + offset)
