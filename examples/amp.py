"""Mixed precision: bfloat16 in the layers and the activations, statistics in float32.

Expected output (the loss may differ a little):

    activations torch.bfloat16, statistics torch.float32
    loss 0.0
"""

import torch
from spirals import spirals
from torch import nn

import anact

torch.manual_seed(0)
torch.set_num_threads(1)
points, classes = spirals(3000, seed=0)
first = nn.Sequential(nn.Linear(2, 64), anact.NSwish())
model = nn.Sequential(first, nn.Linear(64, 64), anact.NSwish(), nn.Linear(64, 3))
anact.initialize(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)
for step in range(300):
    batch = torch.arange(step * 128, (step + 1) * 128) % len(points)
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = model(points[batch].to(device))
        loss = nn.functional.cross_entropy(logits, classes[batch].to(device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.autocast(device, dtype=torch.bfloat16):
    output = first(points.to(device))
statistics = model.get_buffer("2.output_mean")
print(f"activations {output.dtype}, statistics {statistics.dtype}")
print(f"loss {loss.item():.1f}")
