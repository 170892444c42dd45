"""What the tests of sweeps share: a folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integrations.cli.sweep_folder import PARTS, Sweep


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """Runs `surrogate-ax COMMAND s.yaml ...` in a new folder, the file written first."""
    (tmp_path / "sweep_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield Sweep(tmp_path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def calls(sweep: Sweep) -> Callable[[], list[int]]:
    """Batch sizes that the generator of the folder was called with."""
    return lambda: list(sys.modules["sweep_parts"].CALLS) if "sweep_parts" in sys.modules else []
