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
PARTS = ("embedded", "pool", "objectives", "lockstep", "library", "peers", "validity", "run", "classifier", "dataset")


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
    task, made = bench.objectives.task(where), bench.lockstep.Images(images)
    traces = bench.lockstep.run([(task, method(task, 0, 44)) for method in methods.values()], made)
    for trace in traces:
        x, values = trace.joined()
        assert x.shape == (44, 768)
        assert sum(trace.sizes) == 44
        assert (np.abs((x**2).mean(axis=1) - 1) < 0.3).all()
        direct = task.values(images(x))
        assert all(np.allclose(values[name], direct[name], atol=1e-5) for name in values)


def test_drifting_latents_lie_outside_the_band(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.pool, "SIZE", 2_000)
    x = np.random.default_rng(1).standard_normal((200, 768))
    assert bench.validity.outside(x).mean() < 0.03
    assert bench.validity.outside(1.2 * x).all()
    assert bench.validity.outside(x + 0.5).all()
