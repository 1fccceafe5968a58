"""The package as a whole: what it says of itself, its types, its documents, its wheel."""

import doctest
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
import torch

import anact
from anact import _C

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(anact.__file__).parent
MODULES = sorted(
    f"anact.{module.name}"
    for module in pkgutil.iter_modules([str(PACKAGE)])
    if module.name not in {"__main__", "_C"}
)


def run(*command, environment=None, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def program(*arguments):
    if "ANACT_PROGRAM" not in os.environ:
        pytest.skip("ANACT_PROGRAM does not name the program")
    return run(os.environ["ANACT_PROGRAM"], *arguments)


def plain_version():
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"project\(\s*anact\s+VERSION ([0-9.]+)", text)[1]


def test_version():
    release = ".".join(torch.__version__.split(".")[:2])
    assert anact.__version__ == f"{plain_version()}+torch{release}"


def test_the_report_of_the_module_is_that_of_the_program():
    found = run(sys.executable, "-m", "anact").splitlines()
    wanted = program("info").splitlines()
    assert len(found) == len(wanted) > 10
    assert found[0].split() == ["anact", anact.__version__]
    for mine, other in zip(found[1:], wanted[1:], strict=True):
        if not mine.startswith("started"):
            assert mine == other
        assert mine.split()[0] == other.split()[0]


@pytest.mark.parametrize("arguments", [{}, {"mean": 0.5, "std": 2.0, "target": "unit"}])
def test_gains_are_those_of_the_program(arguments):
    flags = [
        word for key, value in arguments.items() for word in (f"--{key}", str(value))
    ]
    wanted = json.loads(program("gains", "--format", "json", *flags))
    rows = anact.gains(**arguments)
    assert len(rows) == len(wanted) == len(_C.activations())
    for row, want in zip(rows, wanted, strict=True):
        assert row.activation == want["activation"]
        for name in ("mean", "square", "forward_gain", "backward_gain", "factors"):
            assert getattr(row, name) == pytest.approx(
                want[name], rel=1e-14, abs=1e-300
            )


def test_gains_of_some():
    assert [row.activation for row in anact.gains(["swish", "elu(0.5)"])] == [
        "silu",
        "elu(alpha=0.5)",
    ]
    with pytest.raises(ValueError, match='unknown name "sulu"'):
        anact.gains("sulu")
    with pytest.raises(ValueError, match="deviation"):
        anact.gains("silu", std=0)


def test_defaults_are_those_of_the_library():
    for name, _, default, _ in _C.options():
        assert (
            f"{name}={default}" in _C.Step("silu", "deep", {}).operator_arguments()[2]
        )
    for activation in _C.activations():
        wanted = _C.Step(activation, "deep", {}).operator_arguments()
        assert anact.ANActOptions(activation).step().operator_arguments() == wanted


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def test_everything_public_has_a_docstring():
    public = [name for name in vars(anact) if not name.startswith("_")]
    assert {"ANAct", "convert_activations", "fold", "functional", "gains"} <= set(
        public
    )
    for name in public:
        assert getattr(anact, name).__doc__, name
    assert anact.__doc__
    doctest_run = doctest.testmod(anact, extraglobs={"torch": torch})
    assert doctest_run.attempted > 0
    assert doctest_run.failed == 0


def test_another_release_of_pytorch_is_refused(tmp_path):
    """A copy of the package that says it was built against another one."""
    package = tmp_path / "anact"
    package.mkdir()
    for file in PACKAGE.iterdir():
        if file.is_file() and file.name != "_build.py":
            (package / file.name).symlink_to(file)
    built = (PACKAGE / "_build.py").read_text()
    other = re.sub(r'torch_version = ".*"', 'torch_version = "2.12.0"', built)
    (package / "_build.py").write_text(other)
    done = subprocess.run(
        [sys.executable, "-c", "import anact"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "built against PyTorch 2.12.0, but this is PyTorch 2.13.0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [["-p", "anact"], sorted((ROOT / "examples").glob("*.py"))]
)
def test_types(what, tmp_path):
    pytest.importorskip("mypy")
    report = run(
        *(sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path)),
        *map(str, what),
        cwd=ROOT,
        environment={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
    )
    assert report.startswith("Success")


def test_the_sdist_holds_what_the_package_is_built_from(tmp_path):
    pytest.importorskip("scikit_build_core")
    build = f"import scikit_build_core.build as b; b.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=ROOT)
    sdist = tmp_path / f"anact-{plain_version()}.tar.gz"
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        metadata = archive.extractfile(f"{sdist.name[:-7]}/PKG-INFO").read().decode()
    assert "Requires-Dist: torch>=2.11\n" in metadata
    sources = [
        path.relative_to(ROOT).as_posix()
        for folder in ("cmake", "include", "python", "src")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    whole = {"CMakeLists.txt", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert not whole.union(sources) - held
    assert not any(name.startswith(("tests/", "results/")) for name in held)


@pytest.mark.slow
def test_a_wheel_works_in_a_clean_environment(tmp_path):
    pytest.importorskip("scikit_build_core")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel")
    alone = ("--no-deps", "--no-index")
    run(*pip, *alone, "--no-build-isolation", "-w", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob(f"anact-{anact.__version__}-*.whl")

    clean = tmp_path / "clean"
    venv.create(clean, with_pip=True)
    python = str(clean / "bin" / "python")
    # It has PyTorch, but nothing of where anact was built.
    packages = run(
        python, "-c", "import site; print(site.getsitepackages()[0])"
    ).strip()
    torch_folder = Path(torch.__file__).parent.parent
    (Path(packages) / "torch.pth").write_text(f"{torch_folder}\n")
    run(python, "-m", "pip", "install", *alone, str(wheel))
    script = (
        "import anact, torch; act = anact.NSwish(); y = act(torch.randn(64));"
        "y.sum().backward(); print(anact.__file__, int(act.num_batches_tracked))"
    )
    bare = {"PATH": "/usr/bin:/bin"}
    file, count = run(python, "-c", script, environment=bare, cwd=tmp_path).split()
    assert file.startswith(packages) and count == "1"
    assert "libtorch" in run(python, "-m", "anact", environment=bare, cwd=tmp_path)
    listed = run(python, "-m", "pip", "show", "--files", "anact")
    assert "anact/py.typed" in listed and "anact/_C.pyi" in listed
    assert f"Version: {anact.__version__}\n" in listed
