"""The search benchmark's own parts: hypervolume, worth, peers and lockstep, with a function in place of the model."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from surrogate_ax import SurrogateSpace, plan
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import Round

FOLDER = Path(__file__).parents[1] / "examples/benchmarks/search"
PARTS = ("embedded", "pool", "objectives", "lockstep", "library", "drives", "peers", "validity", "run", "report",
         "report_drives", "tune", "published", "stopping", "classifier", "dataset")  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The modules, with an empty cache: images are made by a function."""
    before, names = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    patch = pytest.MonkeyPatch()
    patch.setenv("SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    modules = SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
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
    task, made = bench.objectives.task(where), bench.lockstep.Images(Model())
    slow = ("O3 + GP", "GP in one random box")
    methods = {
        name: method
        for name, method in bench.run.METHODS.items()
        if name not in slow and bench.drives.takes(name, task)
    }
    traces = bench.lockstep.run([(task, method(task, 0, 44)) for method in methods.values()], made)
    for method, trace in zip(methods, traces, strict=True):
        x, values = trace.joined()
        stops = (method == bench.run.OURS or "stopping" in method) and where != "two"
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
    monkeypatch.setattr(bench.run, "has", lambda name: True)
    monkeypatch.setattr(bench.validity, "far", lambda rows: rows[:, 0] < 10)
    out = np.isin(np.arange(80), [10, 11])
    assert bench.run.best_valid(task, x, values, out, 80, made) == (-12.0, 1)
    assert bench.run.best_valid(task, x, values, out, 9, made) == ("", 1)
    monkeypatch.setattr(bench.validity, "far", lambda rows: rows[:, 0] < 0)
    assert bench.run.best_valid(task, x, values, out, 80, made) == (0.0, 0)
    monkeypatch.setattr(bench.run, "has", lambda name: False)  # no pool: the band alone judges
    assert bench.run.best_valid(task, x, values, out | (x[:, 0] < 3), 80, made) == (-3.0, "")


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


def test_points_of_a_box_are_those_that_a_round_decodes(bench: SimpleNamespace) -> None:
    space = SurrogateSpace.sample(bench.library.PRIOR, seeds=4, rng=0)
    u, noise = np.random.default_rng(0).random((5, 3)), [Draw(9, i) for i in range(5)]
    for fresh in (0.0, 0.4, 1.0):
        round = Round(dataclasses.replace(space, fresh=fresh), 0, 5)
        decoded = [
            round.point({f"u{k}": x for k, x in enumerate(row)}, draw) for row, draw in zip(u, noise, strict=True)
        ]
        for own, other in zip(bench.library.points(round, u, noise), decoded, strict=True):
            assert dict(own) == pytest.approx(dict(other))


def test_a_host_is_asked_for_every_trial_but_the_draws(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, begun = list[int](), list[int]()

    class Counting(bench.library.Uniform):  # type: ignore[misc, name-defined]
        def __init__(self, task: object, axes: int, repeat: int) -> None:
            begun.append(repeat)
            super().__init__(task, axes, repeat)

        def ask(self, n: int) -> np.ndarray:
            asked.append(n)
            return super().ask(n)

    monkeypatch.setitem(bench.drives.HOSTS, "counting", Counting)
    task = bench.objectives.task("symmetry")
    (trace,) = bench.lockstep.run(
        [(task, bench.drives.drives(task, 0, 44, host="counting"))], bench.lockstep.Images(Model())
    )
    planned = plan(44, dim=768, proposes=True)
    assert sum(asked) == 44 - planned.draws
    assert len(set(begun)) == 1 + len(asked) == len(trace.sizes)  # a sampler a round, the draws' among them
    stopping = bench.drives.drives(task, 0, 44, host="counting", stops=True)
    (trace,) = bench.lockstep.run([(task, stopping)], bench.lockstep.Images(Model()))
    assert sum(trace.sizes) == plan(44, dim=768, steps=8, proposes=True).trials(44) > 66


def test_the_report_tells_whose_boxes_are_better(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    report, drives = bench.report, bench.report_drives
    monkeypatch.setattr(report, "draws_to_match", lambda name, worth: float(np.exp(worth)))
    monkeypatch.setattr(report, "plain", lambda name, n: np.arange(10.0))
    worths = {"CMA-ES drives": 8.0, "CMA-ES in one O3 box": 5.0, "CMA-ES in one random box": 4.0, bench.run.WHOLE: 8.1}
    found = {
        (method, "palette", 100): {
            r: row(bench.run, method, r, worth + r % 3 / (2 if "box" in method else 1)) | {"far": 0, "best": -worth}
            for r in range(9)
        }
        for method, worth in worths.items()
    }
    ranks = drives.ranked(found, 100, "CMA-ES")
    assert [line.split()[-1] for line in ranks] == ["ok"] * 3
    (mean, low, high), over = drives.ratio(found, 100, "CMA-ES drives", bench.run.WHOLE)
    assert (mean, low, high, over) == (pytest.approx(-0.1), pytest.approx(-0.1), pytest.approx(-0.1), "9 cells")
    lines = drives.against_plan(found, 100, "CMA-ES drives")
    assert "palette 81" in lines[0]  # exp(9) / 100, the median repeat's
    assert lines[1].endswith("81 >=30 ok")
    assert "-0.1 >-0.4 ok" in lines[2]
    assert (
        "9 cells"
        in drives.against_even(
            {**found, ("TPE drives", "palette", 100): found["CMA-ES drives", "palette", 100]}, 100, "CMA-ES"
        )[0]
    )
    drives_rows = found["CMA-ES drives", "palette", 100]
    assert set(drives.cells(found, "CMA-ES drives", 100).values()) == {8.0, 9.0, 10.0}
    drives_rows[0]["far"] = ""  # not judged: then all are compared by their bests as they are
    assert set(drives.cells(found, "CMA-ES drives", 100).values()) == {-8.0}
    drives_rows[0]["far"] = 0
    assert "| CMA-ES drives | not run | " in drives.markdown(found)


def test_without_a_pool_images_are_made_when_asked_for(bench: SimpleNamespace) -> None:
    assert bench.lockstep.Images(Model()).kept == {}
    with pytest.raises(FileNotFoundError, match="Make them once"):
        bench.pool.read("a")


@pytest.mark.parametrize(("name", "perfect", "best"), [("palette", 6.05, 3.46), ("symmetry", 2.43, 1.72)])
def test_a_deviation_of_plain_draws_is_read_off_the_results(bench: SimpleNamespace, name, perfect, best) -> None:
    rows = [r for r in bench.run.read(FOLDER / "results.csv") if (r["method"], r["task"]) == ("surrogate-ax", name)]
    median = np.median([float(r["best_inside"]) for r in rows if r["budget"] == "100"])
    # results.md has both, in deviations from the mean of plain draws; a perfect score is 0
    assert bench.published.deviation(name) == pytest.approx(-median / (perfect - best), rel=0.02)


def test_what_stopping_costs_is_counted_against_whole_outputs(bench: SimpleNamespace, tmp_path: Path) -> None:
    stopping, sd = bench.stopping, bench.published.deviation
    ahead = {"palette": [1.0, 2.0, -5.0], "symmetry": [-0.5, -0.2, -0.3]}
    lines = [",".join(stopping.FIELDS)]
    for setting, share in ((stopping.setting(0, 1.0), 0.0), (stopping.setting(3, 0.25), 1.0)):
        for name, values in ahead.items():
            lines += [
                f"{setting!r},{name},{i},{share * v * sd(name) - 0.2},1,9".replace("'", '"')
                for i, v in enumerate(values)
            ]
    made = tmp_path / "stopping.csv"
    made.write_text("\n".join(lines) + "\n")
    found = "\n".join(stopping.table(made))
    assert "step 3, 0.25 kept | +1.00 (" in found
    assert "RESULT largest loss to whole outputs, step 3, 0.25 kept 0.30 <=0.15 short" in found
    assert "RESULT share of objectives won against whole outputs, step 3, 0.25 kept 0.50 >=0.5 ok" in found
    assert "better than whole outputs in 2 of 6 cells" in found


def test_noise_falls_over_the_trials_that_a_setting_has(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[dict[str, object]]()
    monkeypatch.setattr(bench.stopping, "ours", lambda *_, **changes: iter([asked.append(changes)]))
    list(bench.stopping.stopped("palette", 0, 4, 0.5))
    assert asked == [{"checkpoint": 4, "keep_fraction": 0.5, "anneal_over": 133}]
