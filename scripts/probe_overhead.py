"""What a probe of a compiled model costs: steps with it against steps without.

    PYTHONPATH=build/python python scripts/probe_overhead.py --network conv --every 50

Two copies of a network are compiled, one of them with the probe's operators, and trained in
turns, the order changing from pair to pair. Processor time is compared. Idle steps, in which
nothing is due, and measured ones are timed apart; what a step costs on the average is made of
both.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import anact


def conv() -> tuple[nn.Module, torch.Tensor]:
    """Conv–BatchNorm–ReLU, in which what is measured would otherwise be fused."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    model = nn.Sequential(
        *block(3, 32),
        *block(32, 32),
        *block(32, 64),
        nn.MaxPool2d(2),
        *block(64, 64),
        *block(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return model, torch.randn(32, 3, 32, 32)


def mlp() -> tuple[nn.Module, torch.Tensor]:
    layers = [layer for _ in range(6) for layer in (nn.Linear(512, 512), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(512, 10)), torch.randn(256, 512)


def small() -> tuple[nn.Module, torch.Tensor]:
    """Layers of some ten microseconds, the worst case."""
    layers = [layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(64, 64)


NETWORKS = {"conv": conv, "mlp": mlp, "small": small}


def trainer(model: nn.Module, batch: torch.Tensor) -> Callable[[], float]:
    """Runs a step, and returns its seconds of processor time."""
    compiled = torch.compile(model, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> float:
        start = time.process_time()
        optimizer.zero_grad()
        compiled(batch).square().mean().backward()
        optimizer.step()
        return time.process_time() - start

    return step


def percentiles(values: list[float]) -> tuple[float, float, float]:
    tenths = statistics.quantiles(values, n=10)
    return statistics.median(values), tenths[1], tenths[7]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default="conv")
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batch = NETWORKS[arguments.network]()
    plain = trainer(copy.deepcopy(model), batch)
    probed = trainer(model, batch)
    idle, measured = [], []
    with anact.VarianceProbe(model, every=2, compiled=True) as probe:

        def with_probe() -> float:
            return probed() + timed(probe.step)

        for pair in range(2 * arguments.pairs + 6):
            first, second = (plain, with_probe) if pair % 4 < 2 else (with_probe, plain)
            times = {first: first()}
            times[second] = second()
            if pair >= 6:
                # A measured step has begun in the call of probe.step() before it.
                (measured if pair % 2 == 0 else idle).append(
                    (times[with_probe], times[plain])
                )
    print(f"{arguments.network}: PyTorch {torch.__version__}, one thread, inductor")
    ratios = {}
    for name, pairs in (("idle", idle), ("measured", measured)):
        mid, low, high = percentiles([ours / other for ours, other in pairs])
        plain_ms = 1e3 * statistics.median(other for _, other in pairs)
        ratios[name] = mid
        print(
            f"{name} steps: ratio {mid:.4f} (p20 {low:.4f}, p80 {high:.4f}),"
            f" plain {plain_ms:.2f} ms, {len(pairs)} pairs"
        )
    share = 1 / arguments.every
    cost = (1 - share) * ratios["idle"] + share * ratios["measured"] - 1
    print(f"every={arguments.every}: {100 * cost:+.2f} %")


def timed(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
