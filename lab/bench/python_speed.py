#!/usr/bin/env python3
"""What ANAct costs in Python: the module against torch.nn's, and whole training steps.

usage: PYTHONPATH=build/python .venv/bin/python lab/bench/python_speed.py [--csv FILE]

Calls: forward and backward of one module, from Python, on float32. Steps: forward, loss,
backward and SGD of a small CNN and of a transformer of six layers, eager and under
torch.compile, with the plain activation and converted by anact.convert_activations. The two
contenders take turns within each round, which of them is first alternating too; before they
are timed, ANAct's output is compared with its definition in double precision.
"""

import argparse
import csv
import math
import os
import pathlib
import statistics
import time

# A graph of an earlier build must not come back from the disk.
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")

import torch
from torch import nn

import anact

ACTIVATIONS = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU}
SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 24)
COLUMNS = (
    *("what", "activation", "elements", "mode", "threads"),
    *("plain_us", "anact_us", "difference_us", "ratio", "ratio_p20", "ratio_p80"),
)


def race(plain, normalized, rounds, seconds):
    """Median microseconds of both, and the ratios of the rounds."""
    for run in (plain, normalized):
        for _ in range(3):
            run()
    begin = time.perf_counter()
    normalized()
    calls = max(1, int(seconds / max(time.perf_counter() - begin, 1e-7)))
    times = {plain: [], normalized: []}
    for turn in range(rounds):
        order = (plain, normalized) if turn % 2 == 0 else (normalized, plain)
        for run in order:
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            times[run].append((time.perf_counter() - begin) / calls * 1e6)
    return times[plain], times[normalized]


def row(what, activation, elements, mode, plain, normalized):
    ratios = sorted(b / a for a, b in zip(plain, normalized, strict=True))
    low, high = ratios[len(ratios) // 5], ratios[-1 - len(ratios) // 5]
    a, b = statistics.median(plain), statistics.median(normalized)
    result = (what, activation, elements, mode, torch.get_num_threads())
    times = (f"{figure:.1f}" for figure in (a, b, b - a))
    spread = (f"{ratio:.3f}" for ratio in (statistics.median(ratios), low, high))
    result = (*result, *times, *spread)
    print(
        f"{what:12} {activation:5} {elements:>9} {mode:8} {a:12.1f} {b:12.1f} {b - a:9.1f}"
        f"   {statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}]",
        flush=True,
    )
    return result


def check(module, plain):
    """Compares a fresh module with y = lambda (f(x) - mu), the statistics those of N(0, 1)."""
    row = anact.gains(module.options.activation)[0]
    x = torch.randn(1000)
    wanted = row.factors["compromise"] * (plain(x.double()) - row.mean)
    error = (module(x).double() - wanted).abs().max().item()
    if not error < 1e-5:
        raise SystemExit(f"error: {module} differs from its definition by {error}")


def make_call(module, x, g):
    leaves = [x, *module.parameters()]

    def call():
        module(x).backward(g)
        for leaf in leaves:
            leaf.grad = None

    return call


def calls(rounds, seconds):
    for name, kind in ACTIVATIONS.items():
        for size in SIZES:
            plain, module = kind(), anact.ANAct(name)
            check(module, plain)
            x = torch.randn(size, requires_grad=True)
            g = torch.randn(size)

            times = race(
                make_call(plain, x, g), make_call(module, x, g), rounds, seconds
            )
            yield row("call", name, size, "eager", *times)


def cnn():
    layers, channels = [], 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, 100))
    return model.to(memory_format=torch.channels_last), torch.randn(64, 3, 32, 32)


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.projection(attention.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norms[1](x))


def transformer():
    model = nn.Sequential(*(Block(256, 8) for _ in range(6)), nn.Linear(256, 100))
    return model, torch.randn(16, 64, 256)


def make_step(model, x, compiled):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, foreach=True)
    run = torch.compile(model, fullgraph=True) if compiled else model
    target = torch.randint(100, (math.prod(x.shape[:-1]),)) if x.dim() == 3 else None
    if target is None:
        target = torch.randint(100, (x.shape[0],))

    def step():
        loss = nn.functional.cross_entropy(run(x).flatten(0, -2), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def steps(rounds, seconds):
    for name, make, activation in (
        ("cnn", cnn, "silu"),
        ("transformer", transformer, "gelu"),
    ):
        for compiled in (False, True):
            torch.manual_seed(0)
            plain, x = make()
            if name == "cnn":
                x = x.contiguous(memory_format=torch.channels_last)
            normalized = anact.convert_activations(plain, inplace=False).model
            times = race(
                make_step(plain, x, compiled),
                make_step(normalized, x, compiled),
                rounds,
                seconds,
            )
            yield row(
                name, activation, x.numel(), "compiled" if compiled else "eager", *times
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="of a contender in a round"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("calls", "steps"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    environment = anact.environment()
    print(
        f"anact {anact.__version__}, {environment['cpu']}, {environment['instruction_set']}"
    )
    heads = f"{'what':12} {'of':5} {'elements':>9} {'mode':8} {'plain, us':>12} {'ANAct, us':>12}"
    print(f"{heads} {'more, us':>9}   ratio [p20, p80]")
    rows = []
    if arguments.only != "steps":
        rows += calls(arguments.rounds, arguments.seconds)
    if arguments.only != "calls":
        rows += steps(arguments.rounds, max(arguments.seconds, 0.5))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
