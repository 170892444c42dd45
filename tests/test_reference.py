"""Every public name is explained, with each of its arguments, fields and properties."""

from __future__ import annotations

from typing import Any

import griffe
import pytest

from docs.building.reference import PACKAGES, loaded
from tests.reference import ROOT, names, protocols, unexplained


@pytest.fixture(scope="module")
def packages() -> list[Any]:
    return loaded()


def test_every_argument_of_every_public_name_is_explained(packages: list[Any]) -> None:
    known = protocols(packages)
    assert {protocol.name for protocol in known} >= {"Generator", "Steppable", "Prior", "Law", "Chart", "Host"}
    everything = list(names(packages))
    assert len(everything) > 150
    assert [line for thing in everything for line in unexplained(thing, known)] == []


def test_every_package_of_the_wheel_that_is_imported_has_a_page() -> None:
    integrations = {path.name for path in (ROOT / "integrations").iterdir() if (path / "__init__.py").is_file()}
    folders = {
        f"surrogate_ax.{path.name}" for path in (ROOT / "surrogate_ax").iterdir() if (path / "__init__.py").is_file()
    }
    assert set(PACKAGES) == {"surrogate_ax", *integrations - {"surrogate_ax_cli"}, *folders}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('def f(a, *, b):\n    """Do.\n\n    Args:\n        a: one.\n    """', ["m.f: b"]),
        ('def f(a):\n    """Do.\n\n    Args:\n        a: one.\n    """', []),
        ('def f(u):\n    """u (n, K-1) -> w (n, K)."""', []),
        ('def f(a):\n    """Do with `a`."""', []),
        ('def f(a):\n    """See what a is."""', ["m.f: a"]),
        ("def f():\n    pass", ["m.f: no docstring"]),
        ('class C:\n    """C."""\n    def __init__(self, a): ...', ["m.C: a"]),
        ('class C:\n    """C."""\n    def g(self, a):\n        """G."""', ["m.C.g: a"]),
        ('class C:\n    """C."""\n    @property\n    def p(self): ...', ["m.C.p: no docstring"]),
        (
            'from dataclasses import dataclass\n@dataclass\nclass C:\n    """C."""\n    a: int\n    b: int = 0',
            ["m.C: a", "m.C: b"],
        ),
        ('from typing import NamedTuple\nclass C(NamedTuple):\n    """C."""\n    a: int', ["m.C: a"]),
        ("A = 1", ["m.A: no docstring"]),
        ('A = 1\n"""One."""', []),
    ],
)
def test_what_is_not_explained_is_found(code: str, found: list[str], tmp_path: Any) -> None:
    (tmp_path / "m.py").write_text(code)
    module: Any = griffe.load("m", search_paths=[tmp_path], docstring_parser="google")
    (thing,) = [member for name, member in module.members.items() if not member.is_alias]
    assert unexplained(thing, []) == found
