"""Whether the installed package works with the PyTorch beside it: what scripts/wheels.sh runs on each wheel.

wheel_smoke.py 2.13.0    the release that there must be
"""

import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import torch

import anact

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from oracle import OracleANAct, assert_same_statistics


def check_version(release):
    series = release.rpartition(".")[0]
    assert torch.__version__.split("+")[0] == release, torch.__version__
    assert Path(anact.__file__).is_relative_to(sys.prefix), anact.__file__
    assert anact.__version__ == version("anact"), anact.__version__
    assert anact.__version__.endswith(f"+torch{series}"), anact.__version__
    assert f"torch=={series}.*" in (requires("anact") or [])
    report = subprocess.run(
        [sys.executable, "-I", "-m", "anact"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert report.split()[:2] == ["anact", anact.__version__], report
    assert release in report
    print(report)


def check_steps(activation, dtype, tolerance, wrap):
    """Two steps of training and one of evaluation beside plain PyTorch in double precision."""
    torch.manual_seed(0)
    module, oracle = anact.ANAct(activation), OracleANAct(activation)
    call = wrap(module)
    for training in (True, True, False):
        module.train(training)
        oracle.train(training)
        x = torch.randn(64, 1001).to(dtype).requires_grad_()
        wide = x.detach().double().requires_grad_()
        y, want = call(x), oracle(wide)
        grad = torch.cos(want.detach())
        y.backward(grad.to(dtype))
        want.backward(grad.to(dtype).double())
        torch.testing.assert_close(y.double(), want, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(
            x.grad.double(), wide.grad, rtol=tolerance, atol=tolerance
        )
        assert_same_statistics(module, oracle, 1e-5)


def check_training():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 32),
        torch.nn.SiLU(),
        torch.nn.Linear(32, 32),
        torch.nn.SiLU(),
        torch.nn.Linear(32, 1),
    )
    assert len(anact.convert_activations(net).replaced) == 2
    anact.initialize(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        x = torch.randn(64, 8)
        loss = (net(x) - x.prod(1, keepdim=True).tanh()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    net.eval()
    want = net(x)
    anact.fold(net)
    torch.testing.assert_close(net(x), want, rtol=1e-4, atol=1e-5)


def main():
    (release,) = sys.argv[1:]
    check_version(release)
    wraps = {
        "eager": lambda module: module,
        "compiled": lambda module: torch.compile(module, fullgraph=True),
    }
    for name, wrap in wraps.items():
        for activation in ("silu", "gelu", "relu"):
            check_steps(activation, torch.float32, 1e-5, wrap)
            check_steps(activation, torch.bfloat16, 2**-6, wrap)
        print(f"{name}: as plain PyTorch")
    check_training()
    print("training, folding: right")


if __name__ == "__main__":
    main()
