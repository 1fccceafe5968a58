"""The version and dependencies of the package, of which a wheel is for one release of PyTorch.

pyproject.toml names this as a provider of dynamic metadata.
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
        return Path(os.path.abspath(f"{named}/../../.."))
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
    for path in pythons:
        if path.exists() and (found := torch_of_python(str(path), environment)):
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
        r"^#define TORCH_VERSION_(?:MAJOR|MINOR) +(\d+)",
        header.read_text(),
        re.MULTILINE,
    )
    return ".".join(numbers)


class Provider:
    """What scikit-build-core asks."""

    def __init__(self) -> None:
        self.state = ""

    def build_state(self, state: str) -> None:
        """Tells what is built, before the metadata are asked for."""
        self.state = state

    def dynamic_wheel(self, settings: Mapping[str, Any]) -> dict[str, bool]:
        """What may differ between an sdist and its wheel."""
        return {"dependencies": True}

    def dynamic_metadata(
        self, settings: Mapping[str, Any], project: Mapping[str, Any]
    ) -> dict[str, str | list[str]]:
        """Version and dependencies: an sdist's name no release, and what is built from one keeps its version."""
        found = re.search(
            r"project\(\s*anact\s+VERSION ([0-9.]+)", Path("CMakeLists.txt").read_text()
        )
        if not found:
            raise RuntimeError("CMakeLists.txt: project(anact VERSION …) is not there")
        version, torch = found[1], f"torch>={MINIMUM}"
        release = None if self.state == "sdist" else torch_release()
        if release:
            torch = f"torch=={release}.*"
            if not Path("PKG-INFO").exists():
                version += f"+torch{release}"
        return {"version": version, "dependencies": [torch, "typing-extensions>=4.10"]}
