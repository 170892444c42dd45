"""Arrows point inward and down: the core knows no outside library, folders know those below, files form no circle."""

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
CORE_OPTIONAL = {
    "execution/progress.py": {"tqdm"},
    "media/previews.py": {"PIL"},
    "media/contact_sheet.py": {"PIL"},
    "media/clips.py": {"av"},
    "media/structure_files.py": {"gemmi"},
    "scoring/process_worker.py": {"PIL"},
    "analysis/picks.py": {"PIL"},
    "analysis/frame.py": {"pandas"},
}
# The core's folders from the bottom up; those of a tuple stand beside each other. Arrows go down only.
FLOORS = (
    ("latents", "media"),
    ("generation",),
    ("scoring",),
    ("policies",),
    ("editing",),
    ("execution",),
    ("analysis",),
    ("report",),
)
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
        ("surrogate_ax/latents/charts.py", "import optuna.samplers", "the core imports optuna"),
        ("surrogate_ax/latents/charts.py", "def f():\n    from PIL import Image", "the core imports PIL"),
        ("surrogate_ax/media/previews.py", "from PIL import Image", "the core imports PIL"),
        ("surrogate_ax/latents/charts.py", "import surrogate_ax_optuna", "the core imports surrogate_ax_optuna"),
        ("surrogate_ax/deep/x.py", "import importlib\nimportlib.import_module('ax.api')", "the core imports ax"),
        ("integrations/surrogate_ax_a/x.py", "def f():\n    import surrogate_ax_b", "a imports surrogate_ax_b"),
        ("integrations/surrogate_ax_botorch/x.py", "import surrogate_ax_platform", "imports surrogate_ax_platform"),
        ("integrations/surrogate_ax_a/x.py", "import surrogate_ax_cli.main", "a imports surrogate_ax_cli"),
        ("surrogate_ax/execution/loop.py", "def f():\n    import ray", "the core imports ray"),
        ("integrations/surrogate_ax_ray/x.py", "import surrogate_ax_diffusers", "ray imports surrogate_ax_diffusers"),
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
        ("surrogate_ax/media/previews.py", "def f():\n    from PIL import Image"),
        ("surrogate_ax/media/previews.py", "import typing\nif typing.TYPE_CHECKING:\n    from PIL.Image import Image"),
        ("integrations/surrogate_ax_platform/x.py", "import ax\nimport surrogate_ax_botorch"),
        ("integrations/surrogate_ax_cli/x.py", "from surrogate_ax_optuna import optimize"),
    ],
)
def test_allowed_import_passes(tmp_path: Path, file: str, code: str) -> None:
    (tmp_path / "integrations").mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(code)
    assert violations(tmp_path) == []


def modules(root: Path) -> dict[str, Path]:
    """Every module of the core and of the integrations by its dotted name; a package stands for its `__init__`."""
    found = {}
    for folder in (root / CORE, *(path for path in (root / "integrations").iterdir() if path.is_dir())):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def arrows(root: Path) -> dict[str, set[str]]:
    """Which modules each module imports, lazily or for type checkers too; packages on the way do not count."""
    present = modules(root)
    found: dict[str, set[str]] = {}
    for name, file in present.items():
        to = found.setdefault(name, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                to |= {alias.name for alias in node.names if alias.name in present}
            elif isinstance(node, ast.ImportFrom) and node.module in present:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                to |= inside & present.keys()
                to |= {node.module} if inside - present.keys() else set()
        to.discard(name)
    return found


def circles(root: Path) -> list[list[str]]:
    """Groups of modules that import each other in a circle, sorted."""
    to = arrows(root)

    def reached(name: str) -> set[str]:
        seen, todo = set[str](), [name]
        while todo:
            for other in to[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    reach = {name: reached(name) for name in to}
    groups = {tuple(sorted({name} | {other for other in reach[name] if name in reach[other]})) for name in to}
    return sorted(list(group) for group in groups if len(group) > 1 or group[0] in reach[group[0]])


def upward(root: Path) -> list[str]:
    """Imports of the core that go up or across a floor."""
    floor = {folder: i for i, folders in enumerate(FLOORS) for folder in folders}
    found = []
    for name, to in arrows(root).items():
        parts = name.split(".")
        if parts[0] == CORE and len(parts) > 1 and parts[1] in floor:
            for other in sorted(to):
                there = other.split(".")
                if there[0] == CORE and len(there) > 1 and there[1] != parts[1] and there[1] in floor:
                    if floor[there[1]] >= floor[parts[1]]:
                        found.append(f"{name} imports {other}")
                elif there == [CORE]:
                    found.append(f"{name} imports {CORE}")
    return found


def test_folders_of_the_core_import_downwards() -> None:
    assert upward(ROOT) == []
    folders = {path.name for path in (ROOT / CORE).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {folder for folders in FLOORS for folder in folders}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(ROOT) == []


def test_a_seeded_arrow_up_and_a_seeded_circle_are_found(tmp_path: Path) -> None:
    for folder in ("surrogate_ax/latents", "surrogate_ax/scoring", "integrations/surrogate_ax_a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "surrogate_ax/__init__.py").touch()
    (tmp_path / "surrogate_ax/latents/x.py").write_text("def f():\n    from surrogate_ax.scoring import y")
    (tmp_path / "surrogate_ax/scoring/y.py").write_text("from surrogate_ax.latents.x import f")
    (tmp_path / "integrations/surrogate_ax_a/p.py").write_text("from surrogate_ax_a.q import z")
    (tmp_path / "integrations/surrogate_ax_a/q.py").write_text("def f():\n    import surrogate_ax_a.p")
    assert upward(tmp_path) == ["surrogate_ax.latents.x imports surrogate_ax.scoring.y"]
    assert circles(tmp_path) == [
        ["surrogate_ax.latents.x", "surrogate_ax.scoring.y"],
        ["surrogate_ax_a.p", "surrogate_ax_a.q"],
    ]


def test_modules_stay_short() -> None:
    long = {name: len(file.read_text().splitlines()) for name, file in modules(ROOT).items()}
    assert {name: lines for name, lines in long.items() if lines > 320} == {}


def test_every_package_is_distributed_and_typed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    present = [path.parent for path in [ROOT / CORE / "__init__.py", *(ROOT / "integrations").glob("*/__init__.py")]]
    assert sorted(settings["build"]["targets"]["wheel"]["packages"]) == sorted(
        path.relative_to(ROOT).as_posix() for path in present
    )
    assert [path.name for path in present if not (path / "py.typed").is_file()] == []
    assert not (ROOT / "integrations" / "__init__.py").exists()
