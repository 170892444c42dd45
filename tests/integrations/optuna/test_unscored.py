"""Trials that wait for their scores: made by one process, scored by another, also when one of these ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax.errors import ArgumentError, StorageError, UnsupportedError
from surrogate_ax.policies.basic import draws
from surrogate_ax_optuna import OutputFolder, create_study, optimize, score_kept, sqlite, status
from surrogate_ax_optuna.attributes import AWAITING_ATTR
from surrogate_ax_optuna.lease import GRACE, TRIES
from surrogate_ax_optuna.trials import is_awaiting

ENDED = "0/0/0/0"


def pictures(z: torch.Tensor, conditions: Any = ()) -> torch.Tensor:
    return z.sigmoid()


def score(outputs: Any, conditions: Any) -> Any:
    assert all(isinstance(output, torch.Tensor) for output in outputs)
    return [float(output.mean()) for output in outputs]


def never(outputs: Any, conditions: Any) -> Any:
    raise AssertionError("a process that makes outputs has scored one")


GENERATOR = FunctionGenerator(pictures, (4, 4), check_rows=False)
OBJECTIVE, BLIND = (Objective(Metric("light", "maximize"), score=each) for each in (score, never))


def make(study: optuna.Study, folder: Path, total: int = 8, **options: Any) -> None:
    search(study, BLIND, total, unscored=folder, **options)


def search(study: optuna.Study, objective: Objective, total: int = 8, **options: Any) -> None:
    """One round of plain draws."""
    policy = draws(GENERATOR.prior, total, axes=3)
    given = {"batch_size": 4, "rng": 0, "progress": False, "policy": policy, **options}
    optimize(study, GENERATOR, objective, total_trials=total, **given)


def dead(monkeypatch: pytest.MonkeyPatch, owner: str = ENDED) -> None:
    """Have the process of an owner be known to have ended."""
    monkeypatch.setattr("surrogate_ax_optuna.output_folder.has_ended", lambda whose: whose == owner)


def test_what_one_process_makes_another_scores(tmp_path: Path) -> None:
    whole = create_study(OBJECTIVE)
    search(whole, OBJECTIVE)
    study = create_study(OBJECTIVE, storage=sqlite(tmp_path / "s.db"))
    make(study, tmp_path / "kept")
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 8
    assert all(is_awaiting(trial) for trial in study.trials)
    assert not any("output" in str(trial.system_attrs[AWAITING_ATTR]) for trial in study.trials)
    assert status(study).again == 0
    assert score_kept(study, OBJECTIVE, OutputFolder(tmp_path / "kept"), total_trials=8) == 8
    assert [trial.value for trial in study.trials] == pytest.approx([trial.value for trial in whole.trials])
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_planned_search_goes_on_when_its_rounds_are_scored(tmp_path: Path) -> None:
    """What waits is pending: no round is planned before the last one is scored, as in a search of one process."""
    study = create_study(OBJECTIVE, storage=sqlite(tmp_path / "s.db"), study_name="s")
    there = optuna.load_study(study_name="s", storage=sqlite(tmp_path / "s.db"))
    folder = OutputFolder(tmp_path / "kept")
    scorer = threading.Thread(target=score_kept, args=(there, OBJECTIVE, folder), kwargs={"total_trials": 20})
    scorer.start()
    make(study, tmp_path / "kept", 20, policy=None)
    scorer.join(60)
    assert not scorer.is_alive()
    whole = create_study(OBJECTIVE)
    search(whole, OBJECTIVE, 20, policy=None)
    assert [trial.value for trial in study.trials] == pytest.approx([trial.value for trial in whole.trials], abs=1e-5)


def stop_after(wanted: int) -> Any:
    def stop(study: optuna.Study, trial: Any) -> None:
        if len(study.trials) >= wanted and trial.number == wanted - 1:
            raise KeyboardInterrupt

    return stop


def test_an_interrupt_gives_back_what_is_not_made_and_leaves_what_waits(tmp_path: Path) -> None:
    study = create_study(OBJECTIVE, storage=sqlite(tmp_path / "s.db"))
    with pytest.raises(KeyboardInterrupt):
        make(study, tmp_path / "kept", callbacks=[stop_after(4)])
    assert sum(map(is_awaiting, study.trials)) == 4
    make(study, tmp_path / "kept")
    assert sum(map(is_awaiting, study.trials)) == 8
    score_kept(study, OBJECTIVE, OutputFolder(tmp_path / "kept"), total_trials=8)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 8


def test_a_score_that_fails_fails_its_trial(tmp_path: Path) -> None:
    def picky(outputs: Any, conditions: Any) -> Any:
        if float(outputs[0].mean()) < 0.5:
            raise ValueError("too dark")
        return score(outputs, conditions)

    study = create_study(OBJECTIVE)
    make(study, tmp_path)
    score_kept(study, Objective(Metric("light", "maximize"), score=picky), OutputFolder(tmp_path), total_trials=8)
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert 0 < len(failed) < 8
    assert {trial.system_attrs["surrogate:reason"] for trial in failed} == {"ValueError: too dark"}


def test_one_scorer_gets_a_trial_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = OutputFolder(tmp_path), OutputFolder(tmp_path)
    assert mine.claim(3, "mine") == 1
    assert other.claim(3, "other") == 0
    mine.let_go(3)
    assert other.claim(3, ENDED) == 1
    dead(monkeypatch)
    assert mine.claim(3, "mine") == 2
    assert other.claim(3, "other") == 0
    late = time.time() - GRACE - 1
    os.utime(tmp_path / "3.score-2", (late, late))  # as one of another machine that beats no more
    assert other.claim(3, "other") == 3
    mine.close()
    other.close()


def test_what_kills_its_scorers_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create_study(OBJECTIVE)
    make(study, tmp_path, 4)
    dead(monkeypatch)
    for n in range(TRIES):
        (tmp_path / f"1.score-{n + 1}").write_text(ENDED)
    assert score_kept(study, OBJECTIVE, OutputFolder(tmp_path), total_trials=4) == 4
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].system_attrs["surrogate:reason"] == f"its score was killed at each of {TRIES} tries"


def test_what_is_told_while_another_scores_it_is_told_once(tmp_path: Path) -> None:
    study = create_study(OBJECTIVE)
    make(study, tmp_path, 4)
    raced = []

    def slow(outputs: Any, conditions: Any) -> Any:
        if not raced:
            raced.append(True)
            study.tell(0, 7.0)
        return score(outputs, conditions)

    score_kept(study, Objective(Metric("light", "maximize"), score=slow), OutputFolder(tmp_path), total_trials=4)
    assert study.trials[0].value == 7.0
    assert len(study.trials) == 4


@pytest.mark.parametrize(
    "output",
    [np.arange(6.0).reshape(2, 3), torch.ones(2, dtype=torch.bfloat16), ["a", 1, None], {"a": np.float32([1, 2])}],
)
def test_outputs_come_back_as_they_were(tmp_path: Path, output: Any) -> None:
    folder = OutputFolder(tmp_path / "new")
    folder.keep(1, output)
    found = folder.read(1)
    assert type(found) is type(output)
    if isinstance(output, torch.Tensor):
        assert torch.equal(found, output)
        assert found.dtype == output.dtype
    else:
        np.testing.assert_equal(found, output)
    assert [path.name for path in folder.folder.iterdir()] == ["1.npz"]


def test_what_cannot_be_kept_or_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot be sent"):
        OutputFolder(tmp_path).keep(1, object())
    with pytest.raises(StorageError, match=r"trial 1 cannot be read.*Makers and scorers need the same folder"):
        OutputFolder(tmp_path).read(1)
    (tmp_path / "2.npz").write_bytes(b"cut off")
    with pytest.raises(StorageError, match="trial 2 cannot be read"):
        OutputFolder(tmp_path).read(2)


def test_scores_that_decide_while_outputs_are_made_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="unscored: expected total_trials and no checkpoints"):
        optimize(create_study(OBJECTIVE), GENERATOR, BLIND, budget=8, unscored=tmp_path, rng=0)
