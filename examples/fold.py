"""Folding: a trained model becomes one that needs no ANAct.

Expected output:

    merged: 2
      1 into 2
      3 into 6
    kept: 1
      7: its value leaves the model
    largest difference below 1e-6: True
    modules of anact left: 0
"""

import torch
from torch import nn

import anact

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 8, 3), anact.NSwish(), nn.Conv2d(8, 8, 3), anact.NReLU()),
    *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 6 * 6, 16), anact.NGELU()),
)
anact.initialize(model)
images = torch.randn(32, 3, 16, 16)
for _ in range(10):
    model(images)

model.eval()
with torch.no_grad():
    wanted = model(images)
    folding = anact.fold(model, inplace=False)
    found = folding.model(images)
print(folding)
error = (found - wanted).abs().max() / wanted.abs().max()
print(f"largest difference below 1e-6: {bool(error < 1e-6)}")
left = sum(isinstance(module, anact.ANAct) for module in folding.model.modules())
print(f"modules of anact left: {left}")
