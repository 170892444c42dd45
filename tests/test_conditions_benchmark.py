"""The benchmark of two searched conditions, with a function in place of the model."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples/benchmarks/search"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    before, names = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    patch = pytest.MonkeyPatch()
    patch.setenv("SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield importlib.import_module("conditions")
    patch.undo()
    sys.path[:] = before
    for name in set(sys.modules) - names:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def contrasted(x: np.ndarray, conditions: Any) -> np.ndarray:
    """Images (n, 16, 16, 3), with more contrast the larger the guidance."""
    scale = np.array([condition["guidance_scale"] for condition in conditions])[:, None, None, None]
    return 1 / (1 + np.exp(-scale * x.reshape(-1, 16, 16, 3) / 4))


def test_methods_begin_with_the_same_draws_and_keep_to_the_searched_values(bench: Any) -> None:
    made = bench.task("contrast")
    cells = [(made, bench.cell(made, method, 0, 28)) for method in bench.METHODS]
    planned, o3, drawn = bench.run(cells, contrasted)
    assert [len(trace.values) for trace in (planned, o3, drawn)] == [28] * 3
    assert planned.values[:9] == drawn.values[:9]
    assert o3.values[:14] == drawn.values[:14]
    assert planned.values[9:] != drawn.values[9:]
    for trace in (planned, o3, drawn):
        assert {condition["prompt"] for condition in trace.conditions} <= set(bench.PROMPTS)
        assert all(2 * condition["guidance_scale"] in range(2, 9) for condition in trace.conditions)


def test_results_are_ranked(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    under, rows = [{"prompt": "", "guidance_scale": 1.0}] * 2, []
    for repeat in range(2):
        for method, best in zip(bench.METHODS, (3.0, 2.0 + 2 * repeat, 1.0), strict=True):
            rows.append(bench.rows_of(method, "contrast", 50, repeat, bench.Trace([best, 0.0], under)))
    bench.append(tmp_path / "found.csv", rows)
    bench.report(tmp_path / "found.csv")
    said = "planned 1.50, O3 + TPE 1.50, plain draws 3.00; the plan ahead of O3 + TPE in 1, of plain draws in 2"
    assert capsys.readouterr().out == f"RESULT N=50, 2 cells, mean rank: {said}\n"
