"""The core stands alone: it imports, and every public name resolves, where no optional library can be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from surrogate_ax import errors

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    "PIL", "ax", "botorch", "cmaes", "diffusers", "gemmi", "gpytorch", "jaxtyping", "jinja2",
    "matplotlib", "optuna", "optuna_dashboard", "optuna_integration", "ray", "sqlalchemy", "starlette", "tokenizers",
    "tqdm", "transformers", "uvicorn", "yaml",
)  # fmt: skip

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def _run(code: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter where the packages of `blocked` cannot be imported."""
    code = BLOCK.format(blocked=blocked) + code
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_core_imports_without_any_extra() -> None:
    every = sorted(
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in (ROOT / "surrogate_ax").rglob("*.py")
    )
    assert "surrogate_ax.latents.charts" in every
    answer = _run(
        f"""
import importlib
for name in {every!r}:
    importlib.import_module(name)
import surrogate_ax
missing = [name for name in surrogate_ax.__all__ if not hasattr(surrogate_ax, name)]
assert not missing, missing
assert sorted(set(surrogate_ax.__all__)) == sorted(surrogate_ax.__all__), "a name is listed twice"
""",
        *OPTIONAL,
        "typer",
    )
    assert answer.returncode == 0, answer.stderr


def test_the_block_blocks() -> None:
    answer = _run("import optuna", "optuna")
    assert answer.returncode == 1
    assert "No module named 'optuna'" in answer.stderr


def test_integrations_name_their_missing_extra() -> None:
    answer = _run(
        """
import importlib
from surrogate_ax.errors import CHECKOUT, MissingExtraError
extras = {"optuna": "optuna", "diffusers": "diffusers", "botorch": "botorch", "platform": "ax"}
extras |= {"ray": "ray", "web": "web"}
for package, extra in extras.items():
    try:
        importlib.import_module(f"surrogate_ax_{package}")
    except MissingExtraError as error:
        assert f"pip install -e '{CHECKOUT}[{extra}]'" in str(error), error
    else:
        raise AssertionError(f"surrogate_ax_{package} imported without its library")
""",
        *OPTIONAL,
    )
    assert answer.returncode == 0, answer.stderr


def test_what_to_install_depends_on_where_the_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "Clips need PyAV: pip install 'surrogate-ax[video]' or av."
    assert str(errors.MissingExtraError(message)) == f"Clips need PyAV: pip install -e '{ROOT}[video]' or av."
    monkeypatch.setattr(errors, "CHECKOUT", None)
    assert str(errors.MissingExtraError(message)) == message


def test_command_line_imports_when_a_command_runs() -> None:
    answer = _run(
        "from typer.testing import CliRunner\n"
        "from surrogate_ax_cli.main import app\n"
        "answer = CliRunner().invoke(app, ['--help'])\n"
        "assert answer.exit_code == 0, answer.output\n",
        *OPTIONAL, "numpy", "scipy", "torch", "surrogate_ax_optuna", "surrogate_ax_diffusers",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
