"""A study to look at: picks in a line, a contact sheet, a table with the pictures of its trials, a summary."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState

from surrogate_ax import Metric, Objective, Range, SurrogateSpace
from surrogate_ax.media.contact_sheet import GAP, MARGIN, TILE
from surrogate_ax_optuna import Portfolio, contact_sheet, create_study, optimize, portfolio, summary, trials_frame
from surrogate_ax_optuna.attributes import STUDY_ATTR, study_attributes


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


def test_a_seed_that_nobody_gives_is_drawn_and_recorded(make_generator):
    def begin(total: int, **options) -> list[float]:
        optimize(study, generator, goal, total_trials=total, progress=False, **options)
        return [trial.value for trial in study.trials]

    goal, generator = Objective(Metric("mean"), score=lambda z, _: z.mean(dim=1)), make_generator()
    studies = []
    for _ in range(2):
        study = create_study(goal)
        begin(12)
        studies.append((study_attributes(study)[STUDY_ATTR]["rng"], begin(20)))  # goes on with its own
    (one, first), (other, second) = studies
    assert one != other
    assert not set(first) & set(second)
    study = create_study(goal)
    assert begin(20, rng=one) != second
    begin(20)
    study = create_study(goal)
    begin(12, rng=one)
    assert begin(20) == first  # as repeatable as with a seed of one's own


def test_a_box_of_ones_own_records_its_seed_as_well(make_generator):
    goal, generator = Objective(Metric("mean"), score=lambda z, _: z.mean(dim=1)), make_generator()
    space = SurrogateSpace.sample(generator.prior, seeds=3)
    assert space.bank.seeds != SurrogateSpace.sample(generator.prior, seeds=3).bank.seeds
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    optimize(study, generator, goal, total_trials=6, space=space, progress=False)
    assert isinstance(study_attributes(study)[STUDY_ATTR]["rng"], int)
