"""Exchanges a network's state with C++: python_exchange.py PACKAGE_FOLDER FOLDER.

Reads network.pt, which torch::save wrote, and input.pt; writes output.pt, the network's output
in evaluation, then trains one step and writes state.pt and trained.pt, the new output.
"""

import sys
from pathlib import Path

try:
    import torch

    sys.path.insert(0, sys.argv[1])
    import anact
except ImportError as error:
    print(f"anact does not import: {error}")
    sys.exit(77)

torch.set_num_threads(1)
folder = Path(sys.argv[2])
net = torch.nn.Sequential(
    torch.nn.Linear(7, 9),
    anact.ANAct("gelu(approximate=tanh)", solution="exact", momentum=0.3),
    torch.nn.Linear(9, 5),
    anact.NReLU(learnable=False),
)
net.load_state_dict(torch.jit.load(folder / "network.pt").state_dict())
(x,) = torch.jit.load(folder / "input.pt").parameters()
x = x.detach()
with torch.no_grad():
    torch.save({"y": net.eval()(x)}, folder / "output.pt")
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net.train()(x).square().mean().backward()
optimizer.step()
torch.save(dict(net.state_dict()), folder / "state.pt")
with torch.no_grad():
    torch.save({"y": net.eval()(x)}, folder / "trained.pt")
