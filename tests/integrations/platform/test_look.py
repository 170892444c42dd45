"""An experiment to look at: picks with their trials of Ax's, a contact sheet, a table with pictures, a summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogate_ax import Metric, Objective, Range
from surrogate_ax_platform import contact_sheet, optimize, portfolio, summary, trials_frame

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def bright(outputs, conditions):
    return outputs.mean(dim=(1, 2))


def test_an_experiment_is_looked_at(make_client, make_generator, tmp_path):
    goal, generator = Objective(Metric("bright"), score=bright), make_generator(prior=(8, 4), conditional=True)
    client = make_client(goal, generator=generator, model=None, conditions={"guidance": Range(1, 3)}, name="looked")
    optimize(client, generator, goal, total_trials=12, rng=0, previews=tmp_path, progress=False)
    trials = client._experiment.trials
    frame = trials_frame(client, previews=tmp_path)
    assert sorted(frame.index) == list(trials)
    for number, trial in trials.items():
        assert frame.loc[number, "bright"] == trial.objective_mean
        assert frame.loc[number, "guidance"] == trial.arm.parameters["guidance"]
        assert Path(frame.loc[number, "picture"]).read_bytes()[1:4] == b"PNG"
    assert set(frame["state"]) == {"done"}
    picks = portfolio(client, generator, k=3)
    best = max(trials.values(), key=lambda trial: trial.objective_mean)
    assert picks[0].trial is best
    assert picks[0].output.mean().item() == pytest.approx(best.objective_mean, abs=1e-6)
    assert contact_sheet(client, generator, k=3).size[0] > 400
    assert repr(summary(client)).startswith("Summary('looked', 12 trials ended, ")
    assert summary(client, previews=tmp_path)._repr_html_().count("data:image/png") == 6
