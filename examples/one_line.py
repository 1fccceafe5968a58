"""One line normalizes a model that is built already.

Expected output (accuracies may differ by a few points):

    replaced: 20 (20 silu)
    accuracy with SiLU: 33 %
    accuracy with NSiLU: 100 %
"""

import copy

import torch
from spirals import spirals
from torch import Tensor, nn

import anact

torch.manual_seed(0)
torch.set_num_threads(1)
points, classes = spirals(3000, seed=0)
test_points, test_classes = spirals(1000, seed=1)


def train(model: nn.Module) -> float:
    """Trains for 300 steps and returns the accuracy on other points, in percent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(300):
        batch = torch.randint(len(points), (128,), generator=generator)
        loss = nn.functional.cross_entropy(model(points[batch]), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right: Tensor = model(test_points).argmax(1) == test_classes
    return 100 * right.float().mean().item()


# Twenty layers without BatchNorm or skip connections.
layers: list[nn.Module] = [nn.Linear(2, 128), nn.SiLU()]
for _ in range(19):
    layers += [nn.Linear(128, 128), nn.SiLU()]
plain = nn.Sequential(*layers, nn.Linear(128, 3))
anact.initialize(plain)

normalized = copy.deepcopy(plain)
print(anact.convert_activations(normalized))

print(f"accuracy with SiLU: {train(plain):.0f} %")
print(f"accuracy with NSiLU: {train(normalized):.0f} %")
