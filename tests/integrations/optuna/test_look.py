"""A study to look at: picks in a line, a contact sheet, a table with the pictures of its trials, a summary."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState

from surrogate_ax import Metric, Objective, Range
from surrogate_ax.media.contact_sheet import GAP, MARGIN, TILE
from surrogate_ax_optuna import Portfolio, contact_sheet, create_study, optimize, portfolio, summary, trials_frame


def bright(outputs, conditions):
    if (outputs[:, 0, 0] > 0.8).any():
        raise ValueError("too bright")
    return outputs.mean(dim=(1, 2))


def test_a_study_is_looked_at(make_generator, tmp_path):
    goal, generator = Objective(Metric("bright"), score=bright), make_generator(prior=(8, 4), conditional=True)
    study, store = create_study(goal, study_name="looked"), FileSystemArtifactStore(tmp_path)
    optimize(
        study,
        generator,
        goal,
        total_trials=24,
        rng=0,
        conditions={"guidance": Range(1, 3)},
        previews=store,
        progress=False,
    )
    frame = trials_frame(study, previews=store)
    assert sorted(frame.index) == [trial.number for trial in study.trials]
    for trial in study.trials:
        row = frame.loc[trial.number]
        assert row["state"] == ("failed" if trial.state == TrialState.FAIL else "done")
        assert row["guidance"] == trial.params["guidance"]
        if trial.state == TrialState.COMPLETE:
            assert row["bright"] == trial.value
            assert Path(row["picture"]).read_bytes()[1:4] == b"PNG"
    assert (frame["state"] == "failed").any()
    picks = portfolio(study, generator, k=4)
    assert isinstance(picks, Portfolio)
    number, value = picks[0].trial.number, study.best_value
    assert repr(picks[0]).startswith(f"Pick(trial {number}, bright {value:.4g}, Recipe(")
    assert picks._repr_html_().count("data:image/png") == 4
    sheet = contact_sheet(study, generator, k=4)
    assert sheet.size[0] >= 2 * MARGIN + 4 * TILE + 3 * GAP
    found = summary(study, previews=store)
    assert repr(found).startswith("Summary('looked', 24 trials ended, ")
    assert f"trial {study.best_trial.number}: bright {value:.4g}" in repr(found)
    assert found._repr_html_().count("data:image/png") == 6


def test_the_first_failure_is_a_warning_with_its_traceback_the_others_are_logged(make_generator, caplog):
    goal, generator = Objective(Metric("bright"), score=bright), make_generator(prior=(8, 4))
    study = optuna.create_study(direction="maximize")
    with caplog.at_level("INFO", logger="surrogate_ax"):
        optimize(study, generator, goal, total_trials=64, batch_size=8, rng=0, progress=False)
    said = [record for record in caplog.records if record.getMessage() == "An output failed: ValueError: too bright"]
    assert len(said) > 1
    assert [record.levelname for record in said] == ["WARNING", *["INFO"] * (len(said) - 1)]
    assert all("in bright" in caplog.handler.format(record) for record in said)  # with the traceback
    assert all(record.name.startswith("surrogate_ax") for record in said)
