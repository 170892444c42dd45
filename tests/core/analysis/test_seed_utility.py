"""Seed utility: a linear score's seeds are found, an empty score's are not."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace
from surrogate_ax.analysis.seed_utility import _line, effective_seeds, seed_utility
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.charts import Angular, KnotheRosenblatt
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import History

PRIOR = Gaussian((64,))
OBJECTIVE = Objective(Metric("best"), score=lambda outputs, conditions: outputs)
EFFECT = np.array([2.0, 0, 0, 0, -2.0])


def _told(n=80, effect=EFFECT, noise=0.1, goal="maximize"):
    random = np.random.default_rng(0)
    space = SurrogateSpace.sample(PRIOR, seeds=5, rng=0)
    terms = space.terms(random.uniform(size=(n, 4)))
    values = space.bank.rows(terms).toarray() @ effect + noise * random.standard_normal(n)
    objective = Objective(Metric("best", goal), score=OBJECTIVE.score)
    return space, History(objective, terms, {"best": values}, np.zeros(n, dtype=np.int64))


def test_the_seeds_of_a_linear_score_are_found():
    space, history = _told()
    found = seed_utility(history, PRIOR)
    order = [found.seeds.index(seed) for seed in space.bank.seeds]
    assert found.carrying == [order[0]]
    assert found.replaceable == [order[4]]
    assert found.r2 > 0.9
    assert found.trials == 80
    assert found.best[order[0]] == max(found.best)
    np.testing.assert_allclose(found.mean.sum(), 1, atol=0.01)


def test_a_minimised_score_turns_the_seeds_round():
    space, history = _told(goal="minimize")
    found = seed_utility(history, PRIOR)
    assert found.seeds[found.carrying[0]] == space.bank.seeds[4]
    assert found.seeds[found.replaceable[0]] == space.bank.seeds[0]


def test_noise_names_no_seed():
    found = seed_utility(_told(effect=np.zeros(5), noise=1.0)[1], PRIOR)
    assert found.r2 < 0.1
    assert found.carrying == found.replaceable == []


def test_left_out_trials_are_really_left_out():
    random = np.random.default_rng(1)
    x, y = random.standard_normal((12, 30)), random.standard_normal(12)  # more seeds than trials
    assert _line(x, y)[2] < 0.5


def test_failed_trials_and_lone_seeds_are_passed_over():
    space, history = _told(n=20)
    values = history.values["best"].copy()
    values[3] = np.nan
    terms = [*history.terms, ((Draw(9, 0), 1.0),)]
    more = History(history.objective, terms, {"best": np.append(values, 50.0)}, np.zeros(21, dtype=np.int64))
    found = seed_utility(more, PRIOR)
    assert found.trials == 19
    assert set(found.seeds) == set(space.bank.seeds)


def test_too_few_trials_are_refused():
    with pytest.raises(ArgumentError, match="at least four"):
        seed_utility(_told(n=3)[1], PRIOR)
    with pytest.raises(ArgumentError, match="at least four"):
        seed_utility(History(OBJECTIVE, [], {"best": np.zeros(0)}, np.zeros(0, dtype=np.int64)), PRIOR)


def test_effective_seeds_of_known_rows_and_charts():
    np.testing.assert_allclose(effective_seeds(np.array([[1.0, 0, 0], [1, 1, 0], [-1, 1, 1]])), [1, 2, 3])
    u = np.random.default_rng(0).uniform(size=(4000, 19))
    assert effective_seeds(KnotheRosenblatt().weights(u)).mean() == pytest.approx(7.8, abs=0.3)  # K = 20
    assert effective_seeds(Angular().weights(u)).mean() == pytest.approx(2.0, abs=0.3)
