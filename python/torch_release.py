"""The version and dependencies of a wheel, which is built for one release of PyTorch.

pyproject.toml names this as scikit-build-core's provider of both. With the setting ``built`` they name the release that
cmake/AnactTorch.cmake finds under a Python front end; without, and where there is no PyTorch, they name none.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MINIMUM = "2.11"
FOLDER = "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin), end='')"


def torch_of_python(python: str, environment: Mapping[str, str]) -> Path | None:
    """The folder of the torch package that this Python would import, which would take seconds."""
    try:
        done = subprocess.run(
            [python, "-c", FOLDER],
            cwd="/",  # a folder named torch here is not the package
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(done.stdout)


def torch_folder() -> Path | None:
    """The PyTorch to build against, looked for where AnactTorch.cmake looks."""
    if named := os.environ.get("Torch_DIR"):
        return Path(named).absolute().parents[2]
    if named := os.environ.get("TORCH_PYTHON"):
        # A bare name is looked up in PATH.
        python = str(Path(named).absolute()) if "/" in named else named
        return torch_of_python(python, os.environ)
    # pip hides the environment's packages from the build by these.
    hidden = ("PYTHONPATH", "PYTHONNOUSERSITE")
    environment = {key: os.environ[key] for key in os.environ if key not in hidden}
    pythons = [Path(sys.executable)]
    for prefix in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if prefix in os.environ:
            pythons.append(Path(os.environ[prefix], "bin", "python"))
    for python in pythons:
        if python.exists() and (found := torch_of_python(str(python), environment)):
            return found
    return None


def torch_release() -> str | None:
    """Major and minor version of the PyTorch to build against, between whose releases there is no binary compatibility.

    None if none is found, of which CMake will tell.
    """
    folder = torch_folder()
    header = folder / "include/torch/headeronly/version.h" if folder else None
    if header is None or not header.is_file():
        return None
    numbers = re.findall(
        r"^#define TORCH_VERSION_(?:MAJOR|MINOR) +(\d+)", header.read_text(), re.MULTILINE
    )
    return ".".join(numbers)


def dynamic_metadata(field: str, settings: Mapping[str, Any]) -> str | list[str]:
    """The hook that scikit-build-core calls."""
    release = torch_release() if settings.get("built") else None
    if field == "version":
        found = re.search(
            r"project\(\s*anact\s+VERSION ([0-9.]+)", Path("CMakeLists.txt").read_text()
        )
        if not found:
            raise RuntimeError("CMakeLists.txt: project(anact VERSION …) is not there")
        return f"{found[1]}+torch{release}" if release else found[1]
    if field == "dependencies":
        torch = f"torch=={release}.*" if release else f"torch>={MINIMUM}"
        return [torch, "typing-extensions>=4.10"]
    raise RuntimeError(f"torch_release provides no {field}")
