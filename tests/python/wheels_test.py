"""What a wheel is called and requires, the script that builds wheels, and their index. Nothing here compiles or downloads."""

import hashlib
import html.parser
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.parse
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def module_of(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


torch_release = module_of(ROOT / "python" / "torch_release.py")


# ---- The version and the dependencies


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of that version, and a shell that says nothing of PyTorch."""
    (tmp_path / "CMakeLists.txt").write_text("project(\n  anact\n  VERSION 4.5.6)\n")
    monkeypatch.chdir(tmp_path)
    for name in (
        "PYTHONPATH",
        "TORCH_PYTHON",
        "Torch_DIR",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    return tmp_path


def make_python(folder, version=None):
    """A "Python" that knows only where its PyTorch is, if it has one."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    if version is None:
        python.write_text("#!/bin/sh\nexit 1\n")
    else:
        header = folder / "torch/include/torch/headeronly/version.h"
        header.parent.mkdir(parents=True)
        major, minor = version.split(".")
        header.write_text(
            f"#define TORCH_VERSION_MAJOR {major}\n#define TORCH_VERSION_MINOR {minor}\n"
            "#define TORCH_VERSION_PATCH 7\n"
        )
        # As of an interpreter that pip hides the environment's packages from.
        python.write_text(
            f"#!/bin/sh\ntest -z \"$PYTHONPATH\" && printf %s '{folder}/torch'\n"
        )
    python.chmod(0o755)
    return python


def found(state="metadata_wheel"):
    provider = torch_release.Provider()
    provider.build_state(state)
    metadata = provider.dynamic_metadata({}, {})
    return metadata["version"], metadata["dependencies"][0]


PLAIN = ("4.5.6", "torch>=2.11")


def test_a_wheel_is_for_the_release_of_the_environment(project, monkeypatch):
    python = make_python(project / "a", "3.17")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PYTHONPATH", "/hidden")
    assert found() == ("4.5.6+torch3.17", "torch==3.17.*")
    assert found("editable") == found()
    assert found("sdist") == PLAIN
    (project / "PKG-INFO").touch()
    assert found("wheel") == ("4.5.6", "torch==3.17.*")


def test_where_the_build_environment_has_none_the_shells_has(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(make_python(project / "without")))
    assert found() == PLAIN
    make_python(project / "a", "3.17")
    monkeypatch.setenv("VIRTUAL_ENV", str(project / "a"))
    assert found()[0] == "4.5.6+torch3.17"


def test_a_named_one_counts_first(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(make_python(project / "a", "3.17")))
    make_python(project / "b", "3.18")
    monkeypatch.setenv("TORCH_PYTHON", "b/bin/python")
    assert found()[0] == "4.5.6+torch3.18"
    monkeypatch.setenv("Torch_DIR", str(project / "a/torch/share/cmake/Torch"))
    assert found()[0] == "4.5.6+torch3.17"
    monkeypatch.setenv("Torch_DIR", "/nowhere/share/cmake/Torch")
    assert found() == PLAIN


def test_this_projects_own_version(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TORCH_PYTHON", sys.executable)
    anact = pytest.importorskip("anact")
    assert found()[0] == anact.__version__


# ---- The script


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no release of PyTorch; expected [--force] RELEASE..., such as 2.11.0"),
        (["2.13"], "'2.13' is no release of PyTorch"),
        (["2.13.0", "v2"], "'v2' is no release of PyTorch"),
        (["2.9.1"], "PyTorch 2.9.1 is too old: 2.11 is the oldest"),
        (["2.13.0", "2.12.1", "2.13.1"], "2.13.0 and 2.13.1 have one wheel"),
        (["--fast", "2.13.0"], "unknown option '--fast'"),
    ],
)
def test_arguments_that_make_no_wheel(arguments, message):
    done = subprocess.run(
        [ROOT / "scripts" / "wheels.sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wheels: error: {message}")


def test_a_python_that_is_not_there():
    done = subprocess.run(
        [ROOT / "scripts" / "wheels.sh", "2.13.0"],
        env={**os.environ, "PYTHON": "/nowhere/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("wheels: error: there is no '/nowhere/python'")


# A Python whose environments and pip only pretend, and say what they were asked.
FAKE_PYTHON = """#!/bin/bash
echo "$*" >>"$ANACT_TEST_ASKED"
case "$*" in
  *"${ANACT_TEST_FAILS:-nothing fails}"*) echo "it broke" >&2; exit 1 ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *" install --no-compile "*) echo "${@: -2:1}" >"$ANACT_TEST_ASKED.torch" ;;
  *" wheel "*"--wheel-dir "*)
    [[ -z $PYTHONPATH$TORCH_PYTHON$Torch_DIR ]] || exit 1
    release=$(sed 's/torch==\\(.*\\)\\..*/\\1/' "$ANACT_TEST_ASKED.torch")
    mkdir -p "${@: -2:1}" && cp "$ANACT_TEST_WHEEL" "${@: -2:1}/anact-4.5.6+torch$release-cp311-cp311-linux_x86_64.whl" ;;
esac
"""


@pytest.fixture
def wheels(tmp_path):
    """Runs a copy of the script in a project of empty files, with that Python."""
    project = tmp_path / "project"
    for folder in ("cmake", "include", "python", "src"):
        (project / folder).mkdir(parents=True)
    shutil.copy(ROOT / "python" / "torch_release.py", project / "python")
    for name in ("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml"):
        (project / name).touch()
    scripts = shutil.copytree(ROOT / "scripts", project / "scripts")
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    asked = tmp_path / "asked"

    def run(*arguments, fails=""):
        asked.write_text("")
        done = subprocess.run(
            [scripts / "wheels.sh", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHON": str(python),
                "PYTHONPATH": "/elsewhere",
                "TORCH_PYTHON": "/elsewhere/python",
                "ANACT_PIP_ARGS": "--pre --quiet",
                "ANACT_TEST_ASKED": str(asked),
                "ANACT_TEST_WHEEL": str(make_wheel(tmp_path, "4.5.6")),
                **({"ANACT_TEST_FAILS": fails} if fails else {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done, asked.read_text()

    run.project = project
    return run


def test_wheels_are_built_once(wheels):
    done, asked = wheels("2.13.0", "2.12.1")
    assert done.returncode == 0, done.stderr
    folder = wheels.project / "dist" / "wheels"
    names = sorted(file.name for file in folder.glob("*.whl"))
    assert [name[:21] for name in names] == [
        "anact-4.5.6+torch2.12",
        "anact-4.5.6+torch2.13",
    ]
    for release in ("2.13.0", "2.12.1"):
        assert f"install --no-compile --pre --quiet torch=={release} numpy\n" in asked
        assert f"+torch{release[:4]}-cp311-cp311-linux_x86_64.whl\n" in asked
        assert f"wheel_smoke.py {release}\n" in asked
    page = folder / "simple" / "anact" / "index.html"
    assert [
        urllib.parse.unquote(link["href"][6:]).partition("#")[0]
        for link in Links(page).found
    ] == names
    assert not list(wheels.project.glob("build/wheels/*/"))

    done, asked = wheels("2.13.0", "2.12.1")
    assert done.returncode == 0
    assert done.stdout.count("is there") == 2 and "pip" not in asked
    assert "pip" in wheels("--force", "2.13.0")[1]
    (wheels.project / "src" / "new.cpp").touch()
    done, asked = wheels("2.12.1")
    assert done.returncode == 0 and "torch==2.12.1" in asked


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("install --no-compile", "installing torch==2.12.1 failed"),
        (" wheel ", "building the wheel failed"),
        ("wheel_smoke.py 2.12.1", "the test of anact-4.5.6+torch2.12"),
    ],
)
def test_a_failure_names_the_release_and_leaves_no_wheel(wheels, fails, message):
    done, _ = wheels("2.12.1", fails=fails)
    assert done.returncode == 1
    *log, error = done.stderr.splitlines()
    assert log == ["it broke"]
    assert error.startswith(f"wheels: error: PyTorch 2.12.1: {message}")
    assert error.endswith("build/wheels/torch-2.12.1.log")
    assert not list(wheels.project.glob("dist/wheels/[!.]*"))
    assert not list(wheels.project.glob("build/wheels/*/"))
    assert wheels("2.12.1")[0].returncode == 0


# ---- The index


def make_wheel(folder, version):
    wheel = folder / f"anact-{version}-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"anact-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.2\nName: anact\nVersion: {version}\nRequires-Python: >=3.10\n",
        )
    return wheel


def write_index(folder):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "wheel_index.py", folder],
        capture_output=True,
        text=True,
        check=False,
    )


class Links(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found.append(dict(attributes))


def test_the_index_names_every_wheel(tmp_path):
    wheels = [make_wheel(tmp_path, f"4.5.6+torch3.{minor}") for minor in (17, 18)]
    assert write_index(tmp_path).returncode == 0
    (project,) = Links(tmp_path / "simple" / "index.html").found
    page = tmp_path / "simple" / project["href"] / "index.html"
    links = Links(page).found
    assert len(links) == len(wheels)
    for link, wheel in zip(links, wheels, strict=True):
        target, _, digest = link["href"].partition("#")
        assert (page.parent / urllib.parse.unquote(target)).resolve() == wheel
        assert "+" not in target
        assert digest == f"sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"
        assert link["data-requires-python"] == ">=3.10"


def test_pip_takes_a_wheel_from_the_index(tmp_path):
    wheel = make_wheel(tmp_path, "4.5.6+torch3.17")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(
            "anact-4.5.6+torch3.17.dist-info/WHEEL", "Wheel-Version: 1.0\n"
        )
    write_index(tmp_path)
    index = (tmp_path / "simple").as_uri()
    pip = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check")
    command = (
        *pip,
        "download",
        "--no-deps",
        "--index-url",
        index,
        "-d",
        tmp_path / "taken",
    )
    done = subprocess.run(
        [
            *command,
            "--platform",
            "linux_x86_64",
            "--python-version",
            "3.11",
            "--only-binary",
            ":all:",
            "anact",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "taken" / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_folder_without_wheels_has_no_index(tmp_path):
    done = write_index(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("wheel_index: there is no wheel of anact in")
    (tmp_path / "anact-1.whl").write_text("half")
    assert "is no wheel" in write_index(tmp_path).stderr
    assert not (tmp_path / "simple").exists()
