"""torch.compile: one graph, no breaks, the same statistics as without it.

Expected output:

    graphs: 1
    batches in the statistics: 50 and 50
    largest difference of the weights: below 1e-4: True
    evaluation is plain operators: True
"""

import copy
from collections.abc import Callable, Sequence

import torch
from spirals import spirals
from torch import Tensor, nn

import anact

torch.manual_seed(0)
torch.set_num_threads(1)
points, classes = spirals(6400, seed=0)
graphs: list[torch.fx.GraphModule] = []


def backend(
    graph: torch.fx.GraphModule, inputs: Sequence[Tensor | int | torch.SymInt | None]
) -> Callable[..., object]:
    """Notes the graph, and compiles it as torch.compile does."""
    graphs.append(graph)
    compiled: Callable[..., object] = torch._inductor.compile(graph, list(inputs))
    return compiled


def train(model: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
    """Trains for 50 steps, through `run`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for x, target in zip(points.split(128), classes.split(128), strict=True):
        loss = nn.functional.cross_entropy(run(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


eager = nn.Sequential(nn.Linear(2, 64), anact.NSwish(), nn.Linear(64, 3))
anact.initialize(eager)
model = copy.deepcopy(eager)
compiled = torch.compile(model, fullgraph=True, backend=backend)
train(eager, eager)
train(model, compiled)
print(f"graphs: {len(graphs)}")
counts = [int(of.get_buffer("1.num_batches_tracked")) for of in (eager, model)]
print(f"batches in the statistics: {counts[0]} and {counts[1]}")
pairs = zip(eager.parameters(), model.parameters(), strict=True)
difference = max((a - b).abs().max().item() for a, b in pairs)
print(f"largest difference of the weights: below 1e-4: {difference < 1e-4}")

model.eval()
with torch.no_grad():
    compiled(points)
plain = torch.export.export(model, (points,)).run_decompositions()
names = [str(node.target) for node in plain.graph.nodes if node.op == "call_function"]
print(
    f"evaluation is plain operators: {all(name.startswith('aten.') for name in names)}"
)
