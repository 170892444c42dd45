"""A wheel built from this checkout and installed into an empty environment works there.

The new environment sees the libraries of the running one through a path file, which Python does not read a second
time for further path files: the editable install of this checkout stays out of sight. No network is used.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import surrogate_ax

ROOT = Path(__file__).parents[1]


def _run(*command: object, cwd: Path) -> str:
    """Output of a command that must succeed, run outside the checkout with nothing of it on the path."""
    hidden = ("PYTHON", "PIP_", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment["PIP_CONFIG_FILE"] = os.devnull
    answer = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, f"{command} failed:\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that has the wheel and, beside it, the running environment's libraries."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    venv.create(folder)
    scheme = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    libraries = sorted({sysconfig.get_paths()[name] for name in ("purelib", "platlib")})
    Path(scheme["purelib"], "libraries.pth").write_text("".join(f"{path}\n" for path in libraries))
    python = Path(scheme["scripts"], "python")
    # pip runs from the libraries above, --ignore-installed because it sees the editable install's metadata there.
    pip = (python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed")
    _run(*pip, "--disable-pip-version-check", wheel, cwd=folder)
    return Path(scheme["scripts"])


def test_wheel_holds_every_package_and_its_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        source = ROOT / package
        for file in [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]:
            assert f"{source.name}/{file.relative_to(source).as_posix()}" in names
    assert any(name.startswith("surrogate_ax_diffusers/") and name.endswith(".safetensors") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "examples/", "integrations/"))]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_metadata_say_what_the_project_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "surrogate-ax"
    assert metadata["Version"] == surrogate_ax.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert not [
        each for each in metadata.get_all("Classifier", []) if each.startswith("License ::")
    ]  # the expression says it
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(declared)


def test_the_version_stands_in_one_place() -> None:
    """CITATION.cff repeats it, which `test_docs` compares."""
    number = re.escape(surrogate_ax.__version__)
    assert re.findall(rf'(?m)^__version__ = "{number}"$', (ROOT / "surrogate_ax" / "__init__.py").read_text())
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    files = [
        ROOT / "mkdocs.yml",
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "integrations").rglob("*.py"),
    ]
    assert [path.name for path in files if re.search(rf"(?<![\d.]){number}(?![\d.])", path.read_text())] == []


def test_sdist_holds_what_a_build_the_docs_and_tests_need(tmp_path: Path) -> None:
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (built,) = tmp_path.glob("*.tar.gz")
    assert built.stat().st_size < 32 * 2**20
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:  # a checkout: nothing but what is tracked, or new and not ignored
        new = subprocess.run(["git", "ls-files", "-zo", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
        kept = {name for name in f"{listed.stdout}{new.stdout}".split("\0") if name and (ROOT / name).is_file()}
        assert names - kept == {"PKG-INFO"}
        assert {name for name in kept - names if not name.startswith(".ci/")} == set()
    assert {
        "README.md",
        "LICENSE",
        "mkdocs.yml",
        "docs/index.md",
        "docs/notebooks/edit.ipynb",
        "tests/test_wheel.py",
    } <= names


def test_installed_packages_come_from_the_wheel(installed: Path) -> None:
    code = """
import surrogate_ax, surrogate_ax_cli, surrogate_ax_diffusers, surrogate_ax_optuna
for module in (surrogate_ax, surrogate_ax_cli, surrogate_ax_diffusers, surrogate_ax_optuna):
    print(module.__file__)
space = surrogate_ax.SurrogateSpace.sample(surrogate_ax.Gaussian((3, 4)), seeds=3, rng=0)
print(space.coefficients(__import__("numpy").full((2, 2), 0.5)).shape)
"""
    *files, shape = _run(installed / "python", "-c", code, cwd=installed).splitlines()
    assert len(files) == 4
    assert [file for file in files if not file.startswith(str(installed.parent))] == []
    assert shape == "(2, 3)"


def test_installed_command_answers(installed: Path) -> None:
    assert "demo" in _run(installed / "surrogate-ax", "--help", cwd=installed)
