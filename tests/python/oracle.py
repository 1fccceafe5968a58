"""ANAct written out in plain double-precision PyTorch: what the package is held to.

Nothing here calls the package.
"""

import math
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# What torch.nn.functional has by another name, not at all, or not exactly.
_OWN = {
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    # The derivative of F.hardsigmoid has 1/6 in single precision only.
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,
    "relu2": lambda x: F.relu(x).square(),
    "identity": lambda x: x * 1,
}


def function_of(activation):
    """f by the name that the package gives it, ``"elu(alpha=0.5)"``, as PyTorch has it."""
    name, _, given = activation.rstrip(")").partition("(")
    if name in _OWN:
        return _OWN[name]
    parameters = dict(pair.split("=") for pair in given.split(", ") if pair)
    return partial(
        getattr(F, name), **{key: float(value) for key, value in parameters.items()}
    )


STATISTICS = ("output_mean", "output_square", "input_variance", "backward_gain")


def slope(f, x):
    """f'(x), by autograd."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]


def measure(f, x):
    """(μ, s, v, ρ′) of a batch."""
    with torch.no_grad():
        fx = f(x)
        variance = x.var(correction=0)
        return fx.mean(), fx.square().mean(), variance, slope(f, x).square().mean()


def normal_statistics(f):
    """(μ, s, v, ρ′) under N(0, 1).

    Gauss-Legendre on short panels: every kink of the catalogue is at an end of one.
    """
    nodes, weights = np.polynomial.legendre.leggauss(20)
    width = 0.25
    middles = np.arange(-12, 12, width) + width / 2
    x = torch.from_numpy((middles[:, None] + nodes * width / 2).ravel())
    weight = torch.from_numpy(np.tile(weights * width / 2, len(middles)))
    weight = weight * torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    values = f(x), f(x).square(), x.square(), slope(f, x).square()
    return tuple((weight * value).sum() for value in values)


class OracleANAct(nn.Module):
    """The module, always in float64. Takes the options of ``anact.ANAct``."""

    def __init__(
        self,
        activation="silu",
        statistics="previous",
        solution="exact",
        target="damped",
        gain="activation",
        centre=True,
        momentum=0.01,
        gate=None,
        bounds=(0.1, 10.0),
    ):
        super().__init__()
        self.f = function_of(activation)
        self.source, self.solution, self.target = statistics, solution, target
        self.gain, self.centre, self.momentum = gain, centre, momentum
        self.gate, self.bounds = gate, bounds
        self.alpha = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.running = normal_statistics(self.f)
        self.tracked = self.skipped = 0

    def accepts(self, batch):
        if not all(map(torch.isfinite, batch)) or min(batch[1:]) <= 0:
            return False
        if self.gate is None:
            return True
        old, new = self.running, batch
        low, high = self.gate
        forward = (new[1] / new[2]) / (old[1] / old[2])
        backward = new[3] / old[3]
        return bool(low <= forward <= high and low <= backward <= high)

    def replaces(self, batch):
        """Whether it counts as the first batch."""
        if self.tracked == 0:
            return True
        ratios = [(new / old).log() for new, old in zip(batch[1:], self.running[1:])]
        return self.tracked < 10 and max(map(abs, ratios)) > math.log(4)

    def blended(self, batch):
        weight = max(self.momentum, 1 / (self.tracked + 1))
        if self.replaces(batch):
            weight = 1
        return tuple(r + weight * (b - r) for r, b in zip(self.running, batch))

    def factors(self, statistics):
        """(λ, μ or 0, b)."""
        mean, square, variance, backward = statistics
        emitted = square
        if self.gain == "output" and self.centre:
            emitted = square - mean**2
        held = {"damped": variance**0.75, "input": variance, "unit": variance**0}
        wanted = held[self.target]
        rho, rho_prime = emitted / wanted, variance * backward / wanted
        factor = {
            "compromise": (1 / rho + 1 / rho_prime) / 2,
            "forward": 1 / rho,
            "backward": 1 / rho_prime,
            "geometric": 1 / (rho * rho_prime).sqrt(),
            "exact": 1 / rho_prime,
        }[self.solution].sqrt()
        factor = factor.clamp(*self.bounds)
        shift = torch.zeros(())
        if self.solution == "exact":
            spread = square - mean**2
            shift = -(wanted - factor**2 * spread).clamp_min(0).sqrt()
        return factor, mean if self.centre else torch.zeros(()), shift

    def forward(self, x):
        x = x.double()
        used = self.running
        if self.training and x.numel():
            batch = measure(self.f, x)
            if self.accepts(batch):
                blended = self.blended(batch)
                before = batch if self.replaces(batch) else used
                used = {"previous": before, "running": blended, "batch": batch}
                used = used[self.source]
                self.running, self.tracked = blended, self.tracked + 1
            else:
                self.skipped += 1
        factor, mean, shift = self.factors(used)
        return (factor + 0.3 * torch.tanh(self.alpha[0])) * (self.f(x) - mean) + shift


def assert_same_statistics(module, oracle, tolerance):
    """The statistics and counts of an ``anact.ANAct`` beside the oracle's."""
    for name, want in zip(STATISTICS, oracle.running):
        got = getattr(module, name)
        difference = (got.double() - want).abs().item()
        assert difference <= tolerance * (1 + abs(want.item())), name
    assert int(module.num_batches_tracked) == oracle.tracked
    assert int(module.num_batches_skipped) == oracle.skipped
