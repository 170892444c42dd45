"""The samplers of a search: Optuna's own suites, who is asked for what, and several processes on one study."""

from __future__ import annotations

import pickle
import threading
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.pruners import HyperbandPruner
from optuna.samplers import CmaEsSampler, NSGAIISampler, PartialFixedSampler, QMCSampler, RandomSampler, TPESampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna import MovingBoxSampler, SurrogateSampler, create_study, optimize, trial_function
from surrogate_ax_optuna.attributes import PROPOSAL_ATTR, RECIPE_ATTR, ROUND_ATTR, attributes, study_attributes

GENERATOR = FunctionGenerator(lambda z: z.tanh(), (6, 8))
HALVES = Objective(Metric("halves"), score=lambda outputs, _: outputs[:, :3].mean((1, 2)) - outputs[:, 3:].mean((1, 2)))


class TestSurrogateSampler(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return SurrogateSampler


class TestMovingBoxSampler(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: MovingBoxSampler(TPESampler(multivariate=True, n_startup_trials=0))


class TestMovingBoxOfOneObjective(SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: MovingBoxSampler(CmaEsSampler(n_startup_trials=0))


class Counting:
    """What a sampler was asked for, by the round of the trial."""

    def __init__(self, base):
        self.base, self.relative, self.independent = base, Counter(), Counter()
        relative, independent = base.sample_relative, base.sample_independent

        def sample_relative(study, trial, space):
            self.relative[trial.number] += bool(space)
            return relative(study, trial, space)

        def sample_independent(study, trial, name, kind):
            self.independent[trial.number] += 1
            return independent(study, trial, name, kind)

        base.sample_relative, base.sample_independent = sample_relative, sample_independent


@pytest.mark.parametrize("way", ["optimize", "study.optimize", "ask and tell"])
@pytest.mark.parametrize("kind", [TPESampler, CmaEsSampler, RandomSampler, QMCSampler, NSGAIISampler])
def test_a_sampler_is_asked_for_every_trial_but_the_draws(kind, way):
    with pytest.warns() if kind is QMCSampler else _nothing():  # it is experimental
        counted = Counting(kind(seed=0))
    moving = MovingBoxSampler(counted.base, n_trials=28)
    study = create_study(HALVES, sampler=counted.base if way == "optimize" else moving)
    search(study, way, 28)
    draws = [trial.number for trial in study.trials if attributes(trial)[ROUND_ATTR] == 0]
    assert len(draws) == (12 if way == "ask and tell" else 9)  # a batch that is more than a round holds
    asked = {n for n in range(28) if counted.relative[n] or counted.independent[n] >= 7}
    assert asked == set(range(28)) - set(draws)


def search(study, way, total, batch=4):
    if way == "optimize":
        optimize(study, GENERATOR, HALVES, total_trials=total, batch_size=batch, rng=0, progress=False)
    elif way == "study.optimize":
        study.optimize(trial_function(GENERATOR, HALVES), n_trials=total - len(study.trials))
    else:
        function = trial_function(GENERATOR, HALVES)
        while len(study.trials) < total:
            trials = [study.ask() for _ in range(min(batch, total - len(study.trials)))]
            for trial, value in zip(trials, function.evaluate(trials), strict=True):
                study.tell(trial, value)


class _nothing:  # noqa: N801
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_the_planned_search_is_the_same_in_every_loop():
    found = []
    for way in ("optimize", "study.optimize", "ask and tell"):
        study = create_study(HALVES, sampler=SurrogateSampler(40))
        search(study, way, 40, batch=1)
        found.append([trial.value for trial in study.trials])
        exact = [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials]
        assert exact[:13] == [None] * 13
        assert None not in exact[13:]  # every trial behind the draws is a proposal
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_one_loop_goes_on_with_the_study_of_another():
    study = create_study(HALVES, sampler=SurrogateSampler(40))
    search(study, "study.optimize", 17)
    search(study, "optimize", 29)
    search(study, "ask and tell", 40, batch=1)
    whole = create_study(HALVES, sampler=SurrogateSampler(40))
    search(whole, "optimize", 40)
    np.testing.assert_allclose([t.value for t in study.trials], [t.value for t in whole.trials], atol=1e-5)


def test_a_loop_by_hand_goes_on_with_the_seed_that_optimize_was_given():
    found = []
    for ways in (("optimize", "study.optimize"), ("optimize", "optimize")):
        study = create_study(HALVES, sampler=SurrogateSampler(24))
        optimize(study, GENERATOR, HALVES, total_trials=12, batch_size=4, rng=3, progress=False)
        if ways[1] == "optimize":
            optimize(study, GENERATOR, HALVES, total_trials=24, batch_size=4, rng=3, progress=False)
        else:
            search(study, "study.optimize", 24)
        found.append([trial.value for trial in study.trials])
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["planned", "boxes"])
def test_what_others_see_in_the_study_is_what_the_user_set(kind):
    sampler = SurrogateSampler() if kind == "planned" else TPESampler(seed=0)
    study, seen = create_study(HALVES, sampler=sampler), set()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            seen.add(id(study.sampler))

    thread = threading.Thread(target=look)
    thread.start()
    called = lambda study, trial: seen.add(id(study.sampler))  # noqa: E731
    optimize(study, GENERATOR, HALVES, total_trials=24, batch_size=4, rng=0, progress=False, callbacks=[called])
    stop.set()
    thread.join()
    assert seen == {id(sampler)}


@pytest.mark.parametrize("make", [lambda: SurrogateSampler(32), lambda: MovingBoxSampler(TPESampler(seed=0), 32)])
def test_a_process_without_the_model_asks(make):
    study = create_study(HALVES, sampler=make())
    search(study, "study.optimize", 20)
    copied = pickle.loads(pickle.dumps(study.sampler))
    elsewhere = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=copied)
    trials = [elsewhere.ask() for _ in range(4)]
    params = [[trial.suggest_float(f"u{k}", 0, 1) for k in range(7)] for trial in trials]
    assert len({tuple(u) for u in params}) == 4
    values = trial_function(GENERATOR, HALVES).evaluate(
        [optuna.Trial(study, trial._trial_id) for trial in trials]
    )  # where the model is
    for trial, value in zip(trials, values, strict=True):
        study.tell(trial.number, value)
    whole = create_study(HALVES, sampler=make())
    search(whole, "study.optimize", 24)
    if isinstance(copied, SurrogateSampler):  # the other's stream of random numbers was pickled, and goes on as well
        np.testing.assert_allclose([t.value for t in study.trials], [t.value for t in whole.trials], atol=1e-5)


def test_user_attributes_stay_the_users():
    study = create_study(HALVES)
    optimize(study, GENERATOR, HALVES, total_trials=20, batch_size=8, rng=0, progress=False)
    assert study.user_attrs == {}
    assert all(trial.user_attrs == {} for trial in study.trials)
    assert all(RECIPE_ATTR in trial.system_attrs for trial in study.trials)
    assert "search" in study_attributes(study)["surrogate:study"]


def fixing(values, sampler):
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        return PartialFixedSampler(values, sampler)


def test_parameters_that_are_fixed_or_enqueued_count():
    study = create_study(HALVES, sampler=fixing({"u0": 0.25}, SurrogateSampler(24)))
    search(study, "study.optimize", 16)
    study.enqueue_trial({"u1": 0.5, "u2": 0.75})
    search(study, "study.optimize", 25)  # the one that waits is run as well
    assert {trial.params["u0"] for trial in study.trials} == {0.25}
    assert (study.trials[16].params["u1"], study.trials[16].params["u2"]) == (0.5, 0.75)
    by_optimize = create_study(HALVES, sampler=fixing({"u0": 0.25}, SurrogateSampler(24)))
    search(by_optimize, "optimize", 20)
    assert {trial.params["u0"] for trial in by_optimize.trials} == {0.25}
    rows = {str(attributes(trial)[RECIPE_ATTR]["terms"]) for trial in study.trials}
    assert len(rows) == 24  # none was decoded from what the sampler had in mind


def test_two_samplers_of_one_seed_make_no_duplicates():
    study = create_study(HALVES, sampler=SurrogateSampler(40))
    other = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=SurrogateSampler(40))
    one, two = trial_function(GENERATOR, HALVES), trial_function(GENERATOR, HALVES)
    while len(study.trials) < 40:
        asked = [(one, study, study.ask()), (two, other, other.ask()), (one, study, study.ask())]
        for function, owner, trial in asked:
            owner.tell(trial, function(trial))
    rows = Counter(str(attributes(trial)[RECIPE_ATTR]["terms"]) for trial in study.trials)
    assert set(rows.values()) == {1}
    exact = Counter((attributes(t)[ROUND_ATTR], attributes(t).get(PROPOSAL_ATTR)) for t in study.trials)
    assert all(count == 1 for (_, i), count in exact.items() if i is not None)


def test_more_than_a_round_holds_are_other_points_of_its_box():
    study = create_study(HALVES, sampler=SurrogateSampler(24))
    search(study, "study.optimize", 8)  # the draws
    trials = [study.ask() for _ in range(12)]
    function = trial_function(GENERATOR, HALVES)
    values = function.evaluate(trials)
    asked = [attributes(trial) for trial in trials]
    assert {known[ROUND_ATTR] for known in asked} == {1}
    assert sorted(known[PROPOSAL_ATTR] for known in asked if PROPOSAL_ATTR in known) == [0, 1, 2, 3]
    assert len({str(known[RECIPE_ATTR]["terms"]) for known in asked}) == 12
    for trial, value in zip(trials[:4], values, strict=False):
        study.tell(trial, value)
    search(study, "study.optimize", 24)  # eight are never told, and the search goes on
    assert attributes(study.trials[-1])[ROUND_ATTR] > 1


def test_a_pruner_that_hides_attributes_is_no_matter():
    study = create_study(HALVES, sampler=SurrogateSampler(24), pruner=HyperbandPruner())
    search(study, "study.optimize", 24)
    assert [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials[8:12]] == [0, 1, 2, 3]


def test_what_makes_no_sense_is_refused_by_name():
    with pytest.raises(ArgumentError, match="n_trials: expected at least 1"):
        SurrogateSampler(0)
    with pytest.raises(ArgumentError, match="inner: expected a sampler"):
        MovingBoxSampler(SurrogateSampler())
    with pytest.raises(ArgumentError, match="inner: expected a sampler"):
        MovingBoxSampler("tpe")
    study = create_study(HALVES, sampler=SurrogateSampler(seed=3))
    with pytest.raises(ArgumentError, match="was given seed=3, got rng=0"):
        optimize(study, GENERATOR, HALVES, total_trials=8, rng=0)
    bare = create_study(HALVES, sampler=TPESampler())
    with pytest.raises(
        ArgumentError, match=r"its sampler TPESampler makes no boxes.*MovingBoxSampler\(TPESampler\(\)\)"
    ):
        bare.optimize(trial_function(GENERATOR, HALVES), n_trials=1)
