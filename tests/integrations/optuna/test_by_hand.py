"""Loops of one's own: trial functions, batches of threads, define-by-run, and trials that nobody of ours made."""

from __future__ import annotations

import logging
import math
import threading
import time

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from surrogate_ax import Choice, Evaluator, FunctionGenerator, Gaussian, Metric, Objective, SurrogateSpace
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax_optuna import (
    MovingBoxSampler,
    SurrogateSampler,
    create_study,
    distributions,
    optimize,
    read_record,
    record,
    sqlite,
    suggest_latents,
    trial_function,
)
from surrogate_ax_optuna.attributes import PROPOSAL_ATTR, REASON_ATTR, RECIPE_ATTR, RESULT_ATTR, ROUND_ATTR, attributes
from surrogate_ax_optuna.coalescing import Coalescing

HALVES = Objective(Metric("halves"), score=lambda outputs, _: outputs[:, :3].mean((1, 2)) - outputs[:, 3:].mean((1, 2)))
PRIOR = Gaussian((6, 8))


class Counted:
    """A generator that counts what it is called for."""

    check_rows = False

    def __init__(self, seconds=0.0):
        self.sizes = []

        def tanh(z):
            self.sizes.append(len(z))
            time.sleep(seconds)
            return z.tanh()

        self._inner = FunctionGenerator(tanh, (6, 8))
        self.prior, self.fingerprint = self._inner.prior, {"function": "counted"}

    def generate(self, z, conditions):
        return self._inner.generate(z, [{}] * len(conditions))


@pytest.mark.parametrize("make", [SurrogateSampler, lambda n: MovingBoxSampler(TPESampler(seed=0), n)])
def test_sixteen_threads_are_served_by_full_batches(make):
    generator = Counted(0.05)
    study = create_study(HALVES, sampler=make(128))
    study.optimize(trial_function(generator, HALVES), n_trials=128, n_jobs=16)
    assert sum(generator.sizes) == 128
    assert np.mean(generator.sizes) >= 12
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    rows = {str(attributes(trial)[RECIPE_ATTR]["terms"]) for trial in study.trials}
    assert len(rows) == 128


def test_callers_that_stay_away_are_not_waited_for_long():
    calls = []
    coalescing = Coalescing(lambda items: calls.append(len(items)) or [2 * i for i in items], size=8)
    results = [None] * 3
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, coalescing(i))) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun = time.monotonic()
    assert (results, coalescing(5)) == ([0, 2, 4], 10)
    assert time.monotonic() - begun < 5
    assert sum(calls) == 4


def test_what_one_call_raises_is_raised_for_each_of_its_items():
    def broken(items):
        raise ValueError("no disk")

    coalescing, seen = Coalescing(broken, size=4), []

    def call(i):
        try:
            coalescing(i)
        except ValueError as error:
            seen.append(str(error))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["no disk"] * 4


def test_a_box_of_ones_own_is_searched_by_any_sampler():
    generator = Counted()
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=0)
    study = create_study(HALVES, sampler=TPESampler(seed=0))
    study.optimize(trial_function(generator, HALVES, space=space), n_trials=12)
    for trial in study.trials:
        z = space.latents(np.array([[trial.params[f"u{k}"] for k in range(3)]]))["latents"]
        assert trial.value == pytest.approx(float(HALVES.score(z.tanh(), None)[0]), abs=1e-6)
        assert attributes(trial)[RESULT_ATTR]["values"]["halves"] == pytest.approx(trial.value)


def test_define_by_run_learns_and_mixes_with_parameters_and_pruning_of_ones_own():
    def objective(trial):
        z = suggest_latents(trial, PRIOR)["latents"]
        gain = trial.suggest_float("gain", 0.5, 1.5)
        value = gain * float(HALVES.score(z.tanh(), None)[0])
        trial.report(value, 1)
        if trial.should_prune():
            raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction="maximize", sampler=SurrogateSampler(60))
    study.optimize(objective, n_trials=60)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    draws = [trial.value for trial in study.trials if attributes(trial)[ROUND_ATTR] == 0 and trial.value is not None]
    assert study.best_value > max(draws) + 0.3
    assert {trial.params["gain"] for trial in study.trials} != {1.0}


def test_define_by_run_with_an_evaluator_records_and_remakes(tmp_path):
    generator = Counted()
    evaluator = Evaluator(generator, HALVES)
    study = create_study(HALVES, sampler=SurrogateSampler(16), storage=sqlite(tmp_path / "s.db"), study_name="s")
    study.optimize(lambda trial: record(trial, evaluator(suggest_latents(trial, PRIOR), [{}])), n_trials=16)
    history = read_record(study).history
    z = history.bank(PRIOR).latents_of(history.terms)["latents"]
    np.testing.assert_allclose(HALVES.score(z.tanh(), None), history.values["halves"], atol=1e-5)


def test_a_trial_that_fails_says_why():
    def score(outputs, conditions):
        return [math.nan if i == 0 else 1.0 for i in range(len(outputs))]

    objective = Objective(Metric("halves"), score=score)
    study = create_study(objective)
    trials = [study.ask() for _ in range(3)]
    values = trial_function(Counted(), objective).evaluate(trials)
    assert math.isnan(values[0])
    assert values[1:] == [1.0, 1.0]
    assert attributes(study.trials[0])[REASON_ATTR] == "score returned halves = nan"


def test_conditions_are_searched_by_hand_too():
    seen = []

    def score(outputs, conditions):
        seen.extend(condition["gain"] for condition in conditions)
        return outputs[:, :3].mean((1, 2))

    objective = Objective(Metric("half"), score=score)
    study = create_study(objective, sampler=SurrogateSampler(12))
    study.optimize(trial_function(Counted(), objective, conditions={"gain": Choice(["low", "high"])}), n_trials=12)
    assert set(seen) == {"low", "high"}
    assert [attributes(t)[RECIPE_ATTR]["condition"]["gain"] for t in study.trials] == seen


def test_another_generator_or_objective_is_refused_by_name():
    study = create_study(HALVES)
    study.optimize(trial_function(Counted(), HALVES), n_trials=2)
    other = FunctionGenerator(lambda z: z, (6, 8))
    with pytest.raises(MismatchError, match="function"):
        study.optimize(trial_function(other, HALVES), n_trials=1)
    two = Objective(Metric("a"), Metric("b"), score=lambda o, _: {})
    with pytest.raises(ArgumentError, match="expected directions"):
        study.optimize(trial_function(Counted(), two), n_trials=1)


# --- trials that `optimize` did not make


@pytest.fixture
def space():
    return SurrogateSpace.sample(PRIOR, seeds=4, rng=0)


def told(study, space, u, value):
    trial = study.ask(distributions(space))
    study.tell(trial, value)
    return trial


def run(study, total, **options):
    optimize(study, Counted(), HALVES, total_trials=total, batch_size=4, rng=0, progress=False, **options)


def test_a_trial_told_by_hand_between_two_runs_is_adopted_where_it_lies_in_the_box(space):
    study = create_study(HALVES, sampler=TPESampler(seed=0))
    run(study, 8, space=space)
    trial = told(study, space, 0.5, 9.0)
    run(study, 16, space=space)
    assert len(study.trials) == 16
    history = read_record(study).history
    assert study.best_trial.number == trial.number
    assert len(history.terms) == 15  # a reader without the box cannot tell where it lies


def test_trials_before_the_first_run_are_adopted_or_passed_over_with_a_word(space, caplog):
    study = create_study(HALVES, sampler=TPESampler(seed=0))
    study.enqueue_trial({"u0": 0.2})
    study.add_trial(
        create_trial(params=dict.fromkeys(["u0", "u1", "u2"], 0.5), distributions=distributions(4), value=0.3)
    )
    study.add_trial(
        create_trial(params={"x": 1.0}, distributions={"x": optuna.distributions.FloatDistribution(0, 2)}, value=7.0)
    )
    with caplog.at_level(logging.WARNING, "surrogate_ax_optuna"):
        run(study, 10, space=space)
    assert study.trials[0].params["u0"] == 0.2
    assert study.trials[0].state == TrialState.COMPLETE
    assert len(study.trials) == 11  # the one with x stays, and does not count
    assert sum("trials 2 were not made by this search" in message for message in caplog.messages) == 1


def test_a_planned_search_goes_on_beside_trials_of_others(caplog):
    study = create_study(HALVES)
    study.enqueue_trial({"u0": 0.2})
    run(study, 12)
    study.add_trial(create_trial(params={"u0": 0.5}, distributions={"u0": distributions(2)["u0"]}, value=100.0))
    with caplog.at_level(logging.WARNING, "surrogate_ax_optuna"):
        run(study, 20)
    assert len(study.trials) == 21
    assert "trials 12 were not made by this search" in caplog.text
    assert study.trials[0].params["u0"] == 0.2


def test_a_recipe_is_enqueued(space):
    source = create_study(HALVES, sampler=TPESampler(seed=1))
    run(source, 6, space=space)
    best = attributes(source.best_trial)[RECIPE_ATTR]
    study = create_study(HALVES)
    study.enqueue_trial({}, user_attrs={RECIPE_ATTR: best})
    run(study, 8)
    assert study.trials[0].value == pytest.approx(source.best_value, abs=1e-5)


def test_trials_asked_and_told_by_hand_are_learnt_from_by_optimize():
    study = create_study(HALVES, sampler=SurrogateSampler(24))
    study.optimize(trial_function(Counted(), HALVES), n_trials=8)
    trial = study.ask()
    trial_function(Counted(), HALVES)(trial)
    assert PROPOSAL_ATTR in attributes(trial)
    study.tell(trial, 50.0)  # a value of the user's own
    never = study.ask()
    never.suggest_float("u0", 0, 1)
    study.tell(never, 60.0)  # of a latent that nobody has made
    run(study, 16)
    found = read_record(study)
    assert len(found.trials) == len(study.trials) - 1 == 16
    assert found.trials[found.history.order[0]].number == trial.number
