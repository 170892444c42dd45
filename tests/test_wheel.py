"""A wheel built from this checkout and installed into an empty environment works there.

The new environment sees the libraries of the running one through a path file, which Python does not read a second
time for further path files: the editable install of this checkout stays out of sight. No network is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

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
