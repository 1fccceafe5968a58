"""The scripts of examples/ print what they say they do."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SCRIPTS = sorted(
    path for path in EXAMPLES.glob("*.py") if "Expected output" in path.read_text()
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def expected(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return re.split(r"Expected output[^\n]*:\n\n", docstring)[1]


def test_every_script_says_what_it_prints():
    helpers = {path.name for path in EXAMPLES.glob("*.py")} - {p.name for p in SCRIPTS}
    assert helpers == {"spirals.py"}
    assert len(SCRIPTS) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_prints_what_it_says(path):
    if path.stem == "export":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        env={**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = [line.rstrip() for line in done.stdout.splitlines()]
    wanted = [re.sub(r"^    ", "", line) for line in expected(path).splitlines()]
    assert [NUMBER.sub("#", line) for line in found] == [
        NUMBER.sub("#", line) for line in wanted
    ]
    # Another processor rounds otherwise, and training makes more of it.
    for mine, said in zip(found, wanted, strict=True):
        for a, b in zip(NUMBER.findall(mine), NUMBER.findall(said), strict=True):
            assert float(a) == pytest.approx(float(b), rel=0.05, abs=0.05), mine
