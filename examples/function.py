"""ANAct as a function: normalized by the statistics of the tensor itself, without state.

Expected output:

    input: mean 1.00, variance 4.01
    output: mean -0.76, mean square 2.83
    output of the paper's map: mean 0.00, mean square 2.66
"""

import torch

from anact.functional import anact

torch.manual_seed(0)
x = torch.randn(100_000) * 2 + 1
print(f"input: mean {x.mean():.2f}, variance {x.var():.2f}")
y = anact(x, "relu")
print(f"output: mean {y.mean():.2f}, mean square {y.square().mean():.2f}")
y = anact(x, "relu", solution="compromise", target="input")
print(
    f"output of the paper's map: mean {y.mean().abs():.2f}, mean square {y.square().mean():.2f}"
)
