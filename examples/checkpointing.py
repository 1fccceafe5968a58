"""Activation checkpointing: the forward pass runs twice, the statistics move once.

Expected output:

    batches in the statistics: 1
    gradients equal to those without checkpointing: True
"""

import copy

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import anact

torch.manual_seed(0)
block = nn.Sequential(
    *(nn.Linear(64, 64), anact.NSwish(), nn.Linear(64, 64), anact.NGELU())
)
anact.initialize(block)
plain = copy.deepcopy(block)
x = torch.randn(32, 64)

checkpoint(block, x, use_reentrant=False).square().sum().backward()
plain(x).square().sum().backward()

print(f"batches in the statistics: {int(block.get_buffer('1.num_batches_tracked'))}")
pairs = zip(block.parameters(), plain.parameters(), strict=True)
same = all(
    torch.equal(a.grad, b.grad)
    for a, b in pairs
    if a.grad is not None and b.grad is not None
)
print(f"gradients equal to those without checkpointing: {same}")
