"""The mirror: what another host evaluates stands in an Optuna storage as it completes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

import surrogate_ax_optuna.mirror  # noqa: F401  for its module: the package has a function of that name
from surrogate_ax import Choice, Evaluator, Metric, Objective, Recipe, SurrogateSpace
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Batch
from surrogate_ax.execution.records import EndedTrial, TrialCopy, result_record
from surrogate_ax_optuna import mirror, sqlite
from surrogate_ax_optuna.attributes import attributes
from surrogate_ax_optuna.trials import read_recipe

module = sys.modules["surrogate_ax_optuna.mirror"]


@dataclass(frozen=True)
class Ticket:
    index: int
    params: dict[str, Any] = field(default_factory=dict)


def _two(outputs: Any, _: Any) -> dict[str, Any]:
    rows = outputs.flatten(1).double().numpy()
    return {"first": [np.nan if row[0] > 1.3 else row[0] for row in rows], "low": rows[:, 1]}


OBJECTIVE = Objective(Metric("first"), Metric("low", "at_most", 0.5), score=_two)


@pytest.fixture
def make_batch(make_generator):
    def make(begin: int, objective: Objective = OBJECTIVE) -> Batch:
        generator = make_generator(prior=(4, 4), conditional=True)
        space = SurrogateSpace.sample(generator.prior, seeds=3, rng=0)
        u = np.random.default_rng(begin).uniform(size=(6, 2))
        conditions = [{"prompt": "ab"[i % 2]} for i in range(6)]
        evaluations = Evaluator(generator, objective)(space.latents(u), conditions)
        candidates = [
            Candidate(Ticket(begin + i, {"u0": u[i, 0], "u1": u[i, 1], "round": 0}), terms, conditions[i], 0)
            for i, terms in enumerate(space.terms(u))
        ]
        return Batch(candidates, evaluations, begin + 6, 12)

    return make


def test_batches_stand_in_the_storage_with_previews(make_batch, tmp_path):
    storage = sqlite(tmp_path / "ax.db")
    (tmp_path / "previews").mkdir()
    store = FileSystemArtifactStore(str(tmp_path / "previews"))
    show = mirror(storage, name="ax", conditions={"prompt": Choice(["a", "b"])}, previews=store)
    batches = [make_batch(0), make_batch(6)]
    for count, batch in zip((6, 12), batches, strict=True):
        show(batch)
        study = optuna.load_study(study_name="ax", storage=storage)
        assert len(study.trials) == count
    for trial, (batch, i) in zip(study.trials, [(b, i) for b in batches for i in range(6)], strict=True):
        failed = batch.evaluations.status[i] == "failed"
        assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
        assert trial.params == {
            **{name: batch.candidates[i].ticket.params[name] for name in ("u0", "u1")},
            "prompt": batch.candidates[i].condition["prompt"],
        }
        assert read_recipe(trial).terms == batch.candidates[i].terms
        assert len(get_all_artifact_meta(trial, storage=storage)) == (0 if failed else 1)
        if not failed:
            assert trial.values == [batch.evaluations.values["first"][i]]
            assert trial.constraints == {"low": batch.evaluations.values["low"][i] - 0.5}


def test_what_is_there_is_not_written_again(make_batch):
    storage = optuna.storages.InMemoryStorage()
    mirror(storage)(make_batch(0))
    again = mirror(storage)
    again(make_batch(0))
    again(make_batch(6))
    again(make_batch(6))
    assert len(optuna.load_study(study_name="mirror", storage=storage).trials) == 12


def test_another_objective_is_refused(make_batch):
    storage = optuna.storages.InMemoryStorage()
    mirror(storage)(make_batch(0))
    other = Objective(Metric("first", "minimize"), Metric("low", "at_most", 0.5), score=_two)
    with pytest.raises(MismatchError, match="Use another name"):
        mirror(storage)(make_batch(6, other))


# --- after a kill


def copies_of(batches: list[Batch]) -> list[TrialCopy]:
    """What a host holds of batches that it was told."""
    found = []
    for batch in batches:
        ev = batch.evaluations
        for i, candidate in enumerate(batch.candidates):
            recipe = Recipe(candidate.terms, candidate.condition, ev.generator, 6)
            failed = ev.status[i] == "failed"
            ended = EndedTrial(candidate.ticket.index, recipe, 0, {} if failed else result_record(ev, i))
            found.append(TrialCopy(ended, candidate.ticket.params, ev.reasons[i] if failed else None))
    return found


def rows_of(storage: Any, name: str = "mirror") -> list[tuple[Any, ...]]:
    """What a study says of its trials, but for when they were written."""
    trials = optuna.load_study(study_name=name, storage=storage).trials
    trials = sorted(trials, key=lambda trial: int(attributes(trial)["mirror:ticket"]))
    return [(t.state, t.values, t.params, t.distributions, attributes(t), t.constraints) for t in trials]


@pytest.mark.parametrize("written", [0, 1, 3, 5])
def test_a_study_that_a_kill_left_behind_is_brought_to_what_the_host_holds(make_batch, monkeypatch, written):
    """The second batch was told; the kill came before its mirror, or after some writes of it."""
    batches, storage, whole = [make_batch(0), make_batch(6)], InMemoryStorage(), InMemoryStorage()
    for batch in batches:
        mirror(whole)(batch)
    broken = mirror(storage)
    broken(batches[0])
    if written:
        real, count = module.write_result, []

        def killed(*arguments):
            count.append(1)
            if len(count) == written:
                raise KeyboardInterrupt  # a trial is left running
            real(*arguments)

        monkeypatch.setattr(module, "write_result", killed)
        with pytest.raises(KeyboardInterrupt):
            broken(batches[1])
        monkeypatch.undo()
        assert TrialState.RUNNING in [row[0] for row in rows_of(storage)]
    again = mirror(storage)
    again.rebuild(copies_of(batches), OBJECTIVE)
    assert rows_of(storage) == rows_of(whole)
    again.rebuild(copies_of(batches), OBJECTIVE)
    again(batches[1])
    assert rows_of(storage) == rows_of(whole)
    assert optuna.get_all_study_names(storage) == ["mirror"]
    third = make_batch(12)
    again(third)
    assert len(rows_of(storage)) == 18


def test_a_study_of_other_trials_is_kept_and_begun_anew(make_batch, caplog):
    storage, batches = InMemoryStorage(), [make_batch(0), make_batch(6)]
    for batch in batches:
        mirror(storage)(batch)
    before = rows_of(storage)
    mirror(storage).rebuild(copies_of(batches[:1]), OBJECTIVE)  # back to an earlier snapshot
    assert rows_of(storage) == before[:6]
    (other,) = [name for name in optuna.get_all_study_names(storage) if name != "mirror"]
    assert rows_of(storage, other) == before
    assert "is no copy of the search that goes on" in caplog.text


def test_a_study_that_is_no_mirror_is_refused(make_batch):
    storage = InMemoryStorage()
    optuna.create_study(study_name="mirror", storage=storage, direction="maximize").add_trial(create_trial(value=1.0))
    with pytest.raises(MismatchError, match="it mirrors None"):
        mirror(storage).rebuild(copies_of([make_batch(0)]), OBJECTIVE)
    assert len(optuna.load_study(study_name="mirror", storage=storage).trials) == 1
