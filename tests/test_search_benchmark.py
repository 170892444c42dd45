"""The search benchmark's own parts: hypervolume, worth, peers and lockstep, with a function in place of the model."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples/benchmarks/search"
PARTS = ("embedded", "pool", "objectives", "lockstep", "library", "peers", "validity", "run", "tune", "classifier",
         "dataset")  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The modules, with an empty cache and the first draws' images made by a function."""
    before, names = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    patch = pytest.MonkeyPatch()
    patch.setenv("SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    modules = SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    patch.setattr(modules.pool, "read", lambda name: np.zeros((0, 16, 16, 3), np.float32))
    yield modules
    patch.undo()
    sys.path[:] = before
    for name in set(sys.modules) - names:
        if name in PARTS or name == "captions":
            del sys.modules[name]


def images(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.reshape(-1, 16, 16, 3)))


class Model:
    """Whose rows stay where they are."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return images(x)

    def advance(self, x: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        assert 0 <= start < end <= 8
        return x, images(x)


def test_hypervolume_is_the_area_below_the_front(bench: SimpleNamespace) -> None:
    gains = np.random.default_rng(0).uniform(-0.2, 1, (30, 2))
    areas = bench.objectives.hypervolumes(gains)
    at = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(at, at)
    for n in (1, 5, 30):
        covered = ((gains[:n, 0, None, None] > x) & (gains[:n, 1, None, None] > y)).any(axis=0).mean()
        assert areas[n - 1] == pytest.approx(covered, abs=0.01)


def test_what_is_not_feasible_is_worth_nothing(bench: SimpleNamespace) -> None:
    task = bench.objectives.task("constrained")
    values = {"contrast": np.array([0.9, 0.1, 0.5]), "sea": np.array([-0.9, -0.1, -0.2])}
    assert task.worth(values).tolist() == [-np.inf, 0.1, 0.5]


@pytest.mark.parametrize("where", ["symmetry", "constrained", "two"])
def test_every_peer_spends_its_budget_on_latents_of_the_right_norm(bench: SimpleNamespace, where: str) -> None:
    methods = {name: method for name, method in bench.run.METHODS.items() if "+ GP" not in name}
    task, made = bench.objectives.task(where), bench.lockstep.Images(Model())
    traces = bench.lockstep.run([(task, method(task, 0, 44)) for method in methods.values()], made)
    for method, trace in zip(methods, traces, strict=True):
        x, values = trace.joined()
        stops = method == bench.run.OURS and where != "two"
        assert (len(x) > 66) if stops else (len(x) == 44)
        assert x.shape == (sum(trace.sizes), 768)
        assert 44 * 8 - 8 < sum(trace.nfe) <= 44 * 8
        assert (np.abs((x**2).mean(axis=1) - 1) < 0.3).all()
        direct = task.values(images(x))
        done = np.isfinite(next(iter(values.values())))
        assert done.mean() < 0.35 if stops else done.all()
        assert all(np.allclose(values[name][done], direct[name][done], atol=1e-5) for name in values)
        ((n, most, in_time),) = bench.run.prefixes(bench.run.OURS, 44, trace)
        assert (n, most) == (44, len(x))
        assert 0 <= in_time <= most


def test_drifting_latents_lie_outside_the_band(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.pool, "SIZE", 2_000)
    x = np.random.default_rng(1).standard_normal((200, 768))
    assert bench.validity.outside(x).mean() < 0.03
    assert bench.validity.outside(1.2 * x).all()
    assert bench.validity.outside(x + 0.5).all()


def row(run: SimpleNamespace, method: str, repeat: int, best: float) -> dict[str, object]:
    given = {"method": method, "task": "palette", "budget": 100, "repeat": repeat, "best_inside": best, "far": ""}
    return dict.fromkeys(run.FIELDS, 0) | given


def test_the_best_that_counts_is_valid(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    task = bench.objectives.task("symmetry")
    x = np.arange(80, dtype=np.float32)[:, None]
    values = {"symmetry": -np.arange(80.0)}  # the first rows are the best
    values["symmetry"][7] = np.nan  # stopped
    made = SimpleNamespace(of=lambda rows: rows)
    monkeypatch.setattr(bench.validity, "far", lambda rows: rows[:, 0] < 10)
    out = np.isin(np.arange(80), [10, 11])
    assert bench.run.best_valid(task, x, values, out, 80, made) == (-12.0, 1)
    assert bench.run.best_valid(task, x, values, out, 9, made) == ("", 1)
    monkeypatch.setattr(bench.validity, "far", lambda rows: rows[:, 0] < 0)
    assert bench.run.best_valid(task, x, values, out, 80, made) == (0.0, 0)


def test_rows_are_written_again_from_traces(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, results = bench.run, tmp_path / "results.csv"
    monkeypatch.setattr(run, "CACHE", tmp_path)
    monkeypatch.setattr(bench.validity, "far", lambda images: np.zeros(len(images), dtype=bool))
    monkeypatch.setattr(bench.validity, "outside", lambda x: np.zeros(len(x), dtype=bool))
    made, task = bench.lockstep.Images(Model()), bench.objectives.task("symmetry")
    for method in (run.OURS, "sep-CMA-ES"):
        (trace,) = bench.lockstep.run([(task, run.METHODS[method](task, 0, 50))], made)
        run.keep(method, "symmetry", 0, 50, trace)
        run.append(results, run.rows(method, "symmetry", 0, 50, trace, made))
    run.append(results, [row(run, "zero-order", 3, 2.0)])  # whose trace is on another machine
    before = sorted(run.read(results), key=str)
    assert len(before) == 3
    run.judge(results, bench.lockstep.Images(Model()))
    assert sorted(run.read(results), key=str) == before


def test_settings_are_ranked_over_the_cells_that_all_of_them_have(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, made = bench.tune, tmp_path / "tuning.csv"
    monkeypatch.setattr(tune, "TUNING", made)
    monkeypatch.setattr(tune, "CONFIGURATIONS", {"sep-CMA-ES": [{}, {"size": 6}]})
    lines = [
        ("as written", 0, 1.0),
        ("size 6", 0, 2.0),
        ("as written", 1, 1.0),
        ("size 6", 1, 3.0),
        ("size 6", 2, -9.0),
    ]
    bench.run.append(made, [row(bench.run, f"sep-CMA-ES: {name}", repeat, best) for name, repeat, best in lines])
    assert tune.table().splitlines()[2:] == ["| sep-CMA-ES | as written | 2.00 | 2 |",
                                             "| sep-CMA-ES | size 6 | **1.00** | 2 |"]  # fmt: skip
