"""Processes that lack what this one has."""

import os
import subprocess
import sys


def run_without_anact(code, *arguments):
    """Runs Python code in a process in which anact cannot be imported."""
    guard = "import sys; sys.modules['anact'] = None\nimport torch\ntorch.set_num_threads(1)\n"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", guard + code, *map(str, arguments)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
