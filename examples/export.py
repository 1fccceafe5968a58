"""Export: torch.export and, where its packages are installed, ONNX; plain operators both.

Expected output:

    torch.export: all 83 operators are of ATen: True
    torch.export: largest difference below 1e-6: True
    ONNX: all operators are ONNX's own: True
    ONNX: largest difference below 1e-5: True
"""

import importlib.util
import tempfile
from pathlib import Path

import torch
from torch import nn

import anact

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Linear(16, 32), anact.NSwish(), nn.Linear(32, 4), anact.NReLU())
)
anact.initialize(model)
x = torch.randn(8, 16)
for _ in range(10):
    model(x)
model.eval()
with torch.no_grad():
    wanted = model(x)

program = torch.export.export(model, (x,)).run_decompositions()
names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
plain = all(name.startswith("aten.") for name in names)
print(f"torch.export: all {len(names)} operators are of ATen: {plain}")
difference = (program.module()(x) - wanted).abs().max().item()
print(f"torch.export: largest difference below 1e-6: {difference < 1e-6}")

packages = ("onnx", "onnxscript", "onnxruntime")
if all(importlib.util.find_spec(package) for package in packages):
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
        domains = {node.domain for node in onnx.load(path).graph.node}
        print(f"ONNX: all operators are ONNX's own: {domains <= {'', 'ai.onnx'}}")
        session = onnxruntime.InferenceSession(path)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    difference = (torch.from_numpy(found) - wanted).abs().max().item()
    print(f"ONNX: largest difference below 1e-5: {difference < 1e-5}")
