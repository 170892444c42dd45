"""Arrows point inward: the core knows no outside library, and integrations know the core but not each other."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = "surrogate_ax"
CLI = "surrogate_ax_cli"  # where things are put together; test_imports checks that its command does so lazily
CORE_LIBRARIES = {"numpy", "scipy", "torch", "safetensors"}
# What one core module may import inside a function or for type checkers only, with an error that names the extra.
CORE_OPTIONAL = {"previews.py": {"PIL"}, "clips.py": {"av"}, "score_worker.py": {"PIL"}}
ALLOWED_ARROWS = {("surrogate_ax_platform", "surrogate_ax_botorch")}  # as Ax stands on BoTorch


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Line, top-level package and whether it is lazy, for each absolute import of a module.

    Lazy: inside a function, or under `if TYPE_CHECKING`. `import_module("name")` and `__import__("name")` count.
    """

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0], lazy
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0], lazy
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value.split(".")[0], lazy
        if isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING":
            for child in node.body:
                yield from walk(child, True)
            for child in node.orelse:
                yield from walk(child, lazy)
            return
        inner = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(tree, False)


def violations(root: Path) -> list[str]:
    """Every import below `root` that breaks a rule, as `file:line: what`."""
    found = []
    for file in sorted((root / CORE).rglob("*.py")):
        optional = CORE_OPTIONAL.get(file.relative_to(root / CORE).as_posix(), set())
        for line, package, lazy in _imports(ast.parse(file.read_text(encoding="utf-8"))):
            standard = package in sys.stdlib_module_names or package == CORE
            if not (standard or package in CORE_LIBRARIES or (lazy and package in optional)):
                found.append(f"{file.relative_to(root)}:{line}: the core imports {package}")
    for folder in sorted(path for path in (root / "integrations").iterdir() if path.is_dir()):
        for file in sorted(folder.rglob("*.py")):
            for line, package, _ in _imports(ast.parse(file.read_text(encoding="utf-8"))):
                ours = package == folder.name or not package.startswith(f"{CORE}_") or folder.name == CLI
                if not ours and (folder.name, package) not in ALLOWED_ARROWS:
                    found.append(f"{file.relative_to(root)}:{line}: {folder.name} imports {package}")
    return found


def test_arrows_point_inward() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("surrogate_ax/charts.py", "import optuna.samplers", "the core imports optuna"),
        ("surrogate_ax/charts.py", "def f():\n    from PIL import Image", "the core imports PIL"),
        ("surrogate_ax/previews.py", "from PIL import Image", "the core imports PIL"),
        ("surrogate_ax/charts.py", "import surrogate_ax_optuna", "the core imports surrogate_ax_optuna"),
        ("surrogate_ax/deep/x.py", "import importlib\nimportlib.import_module('ax.api')", "the core imports ax"),
        ("integrations/surrogate_ax_a/x.py", "def f():\n    import surrogate_ax_b", "a imports surrogate_ax_b"),
        ("integrations/surrogate_ax_botorch/x.py", "import surrogate_ax_platform", "imports surrogate_ax_platform"),
        ("integrations/surrogate_ax_a/x.py", "import surrogate_ax_cli.main", "a imports surrogate_ax_cli"),
    ],
)
def test_seeded_violation_is_found(tmp_path: Path, file: str, code: str, expected: str) -> None:
    (tmp_path / "integrations").mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(code)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{file}:")
    assert found.endswith(expected)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("surrogate_ax/charts.py", "import math\nimport numpy as np\nfrom surrogate_ax.errors import ShapeError"),
        ("surrogate_ax/previews.py", "def f():\n    from PIL import Image"),
        ("surrogate_ax/previews.py", "import typing\nif typing.TYPE_CHECKING:\n    from PIL.Image import Image"),
        ("integrations/surrogate_ax_platform/x.py", "import ax\nimport surrogate_ax_botorch"),
        ("integrations/surrogate_ax_cli/x.py", "from surrogate_ax_optuna import optimize"),
    ],
)
def test_allowed_import_passes(tmp_path: Path, file: str, code: str) -> None:
    (tmp_path / "integrations").mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(code)
    assert violations(tmp_path) == []


def test_every_package_is_distributed_and_typed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    present = [path.parent for path in [ROOT / CORE / "__init__.py", *(ROOT / "integrations").glob("*/__init__.py")]]
    assert sorted(settings["build"]["targets"]["wheel"]["packages"]) == sorted(
        path.relative_to(ROOT).as_posix() for path in present
    )
    assert [path.name for path in present if not (path / "py.typed").is_file()] == []
    assert not (ROOT / "integrations" / "__init__.py").exists()
