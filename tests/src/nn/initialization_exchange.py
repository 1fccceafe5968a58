"""Draws initial weights: initialization_exchange.py PACKAGE_FOLDER FOLDER.

Writes RECIPE.pt for each recipe: the state of one network after anact.initialize, and the
same by torch.nn.init alone under "plain/".
"""

import copy
import sys
from pathlib import Path

try:
    import torch
    from torch import nn

    sys.path.insert(0, sys.argv[1])
    import anact
except ImportError as error:
    print(f"anact does not import: {error}")
    sys.exit(77)


def plain(model, weights):
    """The recipe's weights as torch.nn.init draws them."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            rows = len(module.weight)
            inputs = module.weight.numel() / rows
            if weights == "orthogonal":
                gain = max(1.0, rows / inputs) ** 0.5
                nn.init.orthogonal_(module.weight, gain=gain)
            else:
                nn.init.normal_(module.weight, std=inputs**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


torch.set_num_threads(1)
shared = nn.Linear(24, 24)
network = nn.Sequential(
    nn.Linear(7, 90),
    nn.Linear(90, 7, bias=False),
    nn.Linear(3, 2),
    nn.Sequential(nn.Conv1d(6, 10, 3), shared, nn.BatchNorm1d(10)),
    nn.Conv2d(8, 12, (3, 5), groups=4),
    nn.Conv2d(40, 9, 3, bias=False),
    shared,
    nn.Conv3d(4, 6, 2),
    nn.ConvTranspose2d(5, 7, 3),
    nn.Linear(11, 13).double(),
)
with torch.no_grad():
    for parameter in network.parameters():
        parameter.fill_(0.5)
for recipe in anact.recipes():
    states = {}
    for prefix in ("", "plain/"):
        model = copy.deepcopy(network)
        torch.manual_seed(20221107)
        if prefix:
            plain(model, recipe.weights)
        else:
            anact.initialize(model, recipe=recipe.name)
        states |= {prefix + key: value for key, value in model.state_dict().items()}
    torch.save(states, Path(sys.argv[2]) / f"{recipe.name}.pt")
