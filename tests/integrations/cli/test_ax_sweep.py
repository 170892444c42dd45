"""Sweeps with `backend: ax`: the same file, kept in a snapshot, shown by Optuna's dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator

import optuna
import pytest

from surrogate_ax_optuna import sqlite
from surrogate_ax_platform import load_client
from tests.integrations.cli.sweep_folder import Sweep

LIT = {
    "generator": "sweep_parts:lit",
    "conditions": "{light: {low: 0.5, high: 1.0, step: 0.25}}",
    "backend": "ax",
    "budget": "8",
}


@pytest.fixture
def quick() -> Iterator[None]:
    from ax.utils.testing.mock import mock_botorch_optimize_context_manager

    with mock_botorch_optimize_context_manager():
        yield


@pytest.mark.usefixtures("quick")
def test_a_sweep_runs_goes_on_and_is_mirrored(sweep: Sweep) -> None:
    first = sweep("sweep", "--json", **LIT)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["trials"]["ended"] == 8
    assert json.loads(first.stdout)["storage"] == "s.json"  # what other commands take
    assert "study 's' in s.json: new" in first.stderr
    again = sweep("sweep", "--json", **{**LIT, "budget": "12"})
    assert again.exit_code == 0, again.output
    assert "The study goes on: 8 trials ended" in again.stderr
    result = json.loads(again.stdout)
    assert result["trials"] == {"budget": 12, "ended": 12, "scored": 12, "failed": 0, "running": 0, "again": 0}
    assert result["nfe"] == 12
    assert len(load_client("s.json")._experiment.trials) == 12
    mirrored = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert len(mirrored.trials) == 12
    assert mirrored.best_value == pytest.approx(result["best"][0]["values"]["dark"])
    assert len(list((sweep.folder / "s-previews").iterdir())) == 12
    picked = sweep("best", "-k", "2", "--json")
    assert picked.exit_code == 0, picked.output
    rows = json.loads(picked.stdout)
    assert rows[0]["trial"] == result["best"][0]["trial"]
    assert rows[0]["recipe"]["condition"].keys() == {"light"}
    report = sweep("report", "--items", "2")
    assert report.exit_code == 0, report.output
    assert (sweep.folder / "s" / "report.html").read_text().count("data:image/") >= 2


def test_a_named_model_and_policy(sweep: Sweep) -> None:
    policy = "{name: o3, n: 4, seeds: 3}"
    answer = sweep("sweep", "--json", backend="ax", sampler="{name: ax, initial: 4}", policy=policy, budget="8")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["trials"]["scored"] == 8
    changed = sweep("sweep", backend="ax", sampler="ax", policy=policy, budget="8", seed="5")
    assert changed.exit_code == 2
    assert "seed: experiment 's' in s.json was begun with 0, the file has 5" in changed.stderr


def test_a_dry_run_writes_nothing(sweep: Sweep) -> None:
    answer = sweep("sweep", "--dry-run", **LIT)
    assert answer.exit_code == 0, answer.output
    assert "backend ax" in answer.stdout
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": '{"a b<c": maximize}'}, "s.yaml:4: metrics: objective: Ax cannot read the metric names ['a b<c']"),
        ({"metrics": "{max: maximize}"}, "metrics: objective: Ax cannot read the metric names ['max']"),
        ({"metrics": "{round: maximize, m: track}"}, "Ax cannot read the metric names ['round']"),
        ({"metrics": "{m: maximize, None: track}"}, "Ax cannot read the metric names ['None']"),
        ({"metrics": "{lambda: maximize}"}, "Ax cannot read the metric names ['lambda']"),
        ({"sampler": "tpe"}, "sampler: with backend ax, expected one of coefficients, ax, got 'tpe'"),
        ({"sampler": "{name: ax, model: x}"}, "ax takes no argument 'model' here. It takes initial"),
        ({"checkpoints": "[2]"}, "checkpoints: needs `backend: optuna`, or `checkpoints: auto`"),
        ({"pruner": "median"}, "pruner: needs `backend: optuna`"),
        ({"storage": "redis://host"}, "storage: expected a file for Ax's snapshot"),
        ({"storage": "sweep_parts.py"}, "expected a snapshot of `save_client`"),
    ],
)
def test_bad_input_is_refused(sweep: Sweep, changes: dict[str, str], message: str) -> None:
    answer = sweep("sweep", backend="ax", **changes)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]
