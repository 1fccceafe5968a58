"""ANAct as a module of one's own network.

Expected output (numbers may differ a little):

    activations.0: NSiLU(silu), lambda 1.649
    activations.1: NGELU(gelu, target=unit), lambda 0.671
    activations.2: NReLU(relu, momentum=0.1), lambda 1.203
    activations.3: ANAct(elu(alpha=0.5), solution=compromise, centre=False), lambda 1.052
    accuracy: 100 %
"""

import torch
from spirals import spirals
from torch import Tensor, nn

import anact

torch.manual_seed(0)
torch.set_num_threads(1)


class Network(nn.Module):
    """A perceptron of four layers, each with another activation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(2, 64), *(nn.Linear(64, 64) for _ in range(3))]
        )
        self.activations = nn.ModuleList(
            [
                anact.NSwish(),
                anact.NGELU(target="unit"),
                anact.NReLU(momentum=0.1),
                anact.ANAct("elu(alpha=0.5)", solution="compromise", centre=False),
            ]
        )
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        logits: Tensor = self.head(x)
        return logits


points, classes = spirals(3000, seed=0)
model = Network()
anact.initialize(model)
# Weight decay is for weights: alpha and the biases do without.
decayed = [p for p in model.parameters() if p.dim() > 1]
others = [p for p in model.parameters() if p.dim() <= 1]
optimizer = torch.optim.AdamW(
    [
        {"params": decayed, "weight_decay": 0.01},
        {"params": others, "weight_decay": 0.0},
    ],
    lr=3e-3,
)
for step in range(300):
    batch = torch.arange(step * 128, (step + 1) * 128) % len(points)
    loss = nn.functional.cross_entropy(model(points[batch]), classes[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

model.eval()
for name, module in model.named_modules():
    if isinstance(module, anact.ANAct):
        print(f"{name}: {module}, lambda {module.factor():.3f}")
test_points, test_classes = spirals(1000, seed=1)
accuracy = (model(test_points).argmax(1) == test_classes).float().mean()
print(f"accuracy: {100 * accuracy:.0f} %")
