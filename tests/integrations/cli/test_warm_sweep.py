"""Sweep files that name earlier searches, and metrics whose scores vary."""

from __future__ import annotations

import json

import optuna
import pytest

from surrogate_ax import Metric
from surrogate_ax_cli.sweep_file import read_sweep
from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.attributes import WARM_ATTR, study_attributes
from tests.integrations.cli.sweep_folder import Sweep

HEAD = "version: 1\ngenerator: sweep_parts:make\nscore: sweep_parts:lighter\nbudget: 16\nbatch: 8\n"


@pytest.mark.parametrize(
    ("written", "metric"),
    [
        ("{goal: maximize, noise: 0.3}", Metric("light", noise=0.3)),
        ("{goal: minimize, noise: unknown}", Metric("light", "minimize", noise="unknown")),
        ("{goal: maximize}", Metric("light")),
    ],
)
def test_a_metric_may_have_noise(tmp_path, written, metric) -> None:
    (tmp_path / "s.yaml").write_text(f"{HEAD}metrics: {{light: {written}}}\n")
    assert read_sweep(tmp_path / "s.yaml").metrics == (metric,)


@pytest.mark.parametrize(
    "written", ["{noise: 0.3}", "{goal: maximize, at_most: 1}", "{goal: up}", "{at_most: 1, noise: -1}"]
)
def test_other_metrics_are_refused_with_their_line(tmp_path, written) -> None:
    (tmp_path / "s.yaml").write_text(f"{HEAD}metrics: {{light: {written}}}\n")
    with pytest.raises(Exception, match=r"s\.yaml:6.*(noise|maximize)"):
        read_sweep(tmp_path / "s.yaml")


@pytest.mark.parametrize("backend", ["optuna", "ax"])
def test_a_sweep_learns_from_an_earlier_one_and_goes_on_without_it(sweep: Sweep, backend: str) -> None:
    assert sweep("sweep", "--json").exit_code == 0
    best = max(trial.value for trial in optuna.load_study(study_name="s", storage=sqlite("s.db")).trials)
    earlier = {"warm": "[s.yaml]", "backend": backend, "budget": "16", "metrics": "{light: maximize}"}
    answer = sweep("sweep", "--json", file="new.yaml", **earlier)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["best"][0]["values"]["light"] >= best - 1e-6
    if backend == "optuna":
        known = study_attributes(optuna.load_study(study_name="new", storage=sqlite("new.db")))
        assert known[WARM_ATTR] == ["'s' of s.yaml"]
    (sweep.folder / "s.db").unlink()
    again = sweep("sweep", "--json", file="new.yaml")
    assert again.exit_code == 0, again.output
    missing = sweep("sweep", file="other.yaml", **earlier | {"warm": "[missing.db]"})
    assert missing.exit_code == 2
    assert "other.yaml:7: warm" in missing.output
    assert not [name for name in sweep.files() if name.startswith("other") and name != "other.yaml"]
