"""Policies: the next turn from what was told, the same for whoever asks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace, draws, fixed, o3
from surrogate_ax.errors import ArgumentError, SeedError
from surrogate_ax.latents.charts import Angular
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.basic import O3_SEEDS, o3_seeds
from surrogate_ax.policies.history import History, Round, as_proposals

PRIOR = Gaussian((24,))
OBJECTIVE = Objective(Metric("best"), score=lambda outputs, conditions: outputs)


def history(values, rounds=None, *, running=(), terms=None, tensors=None):
    n = len(values)
    rows = terms or [((Draw(5, i), 1.0),) for i in range(n)]
    rounds = np.zeros(n, dtype=int) if rounds is None else np.asarray(rounds, dtype=int)
    return History(OBJECTIVE, rows, {"best": np.asarray(values, dtype=float)}, rounds, running, tensors or {})


def seeds_of(round):
    return [[seed for seed, _ in row] for row in round.space.bank.terms(round.space.frame)]


# --- what was told


def test_a_round_is_counted_by_what_ended_and_what_runs():
    made = history([1, 2, np.nan, 4], [0, 1, 0, 1], running=(0, 0, 1))
    round = Round(SurrogateSpace.sample(PRIOR, seeds=2, rng=0), 0, 10)
    assert (made.ended(0), made.ended(1), made.ended(2)) == (2, 2, 0)
    assert made.open(round) == 10 - 2 - 2
    assert made.order.tolist() == [3, 1, 0, 2]


def test_the_first_of_a_round_are_the_first_to_end():
    made = history([5, 6, 7, 8, 9], [1, 0, 1, 0, 1], running=(1,)).first(1, 2)
    assert made.values["best"].tolist() == [5, 7]
    assert made.terms == [((Draw(5, 0), 1.0),), ((Draw(5, 2), 1.0),)]
    assert made.round.tolist() == [1, 1]
    assert list(made.running) == []


def test_the_bank_of_what_was_told_holds_its_seeds_in_order():
    row = torch.randn(24, generator=torch.Generator().manual_seed(0))
    stored = SurrogateSpace.sample(PRIOR, seeds=2, rng=0).bank.extend([row])
    terms = [((Draw(1, 7), 0.6), (Draw(1, 2), 0.8)), ((stored.seeds[-1], 1.0),), ((Draw(1, 7), 1.0),)]
    made = history([1, 2, 3], terms=terms, tensors=stored.tensors)
    bank = made.bank(PRIOR)
    assert bank.seeds == (Draw(1, 7), Draw(1, 2), stored.seeds[-1])
    assert bank.rows(made.terms).toarray().tolist() == [[0.6, 0.8, 0], [0, 0, 1], [1, 0, 0]]
    with pytest.raises(SeedError, match="there is no tensor of"):
        history([1, 2, 3], terms=terms).bank(PRIOR)


def test_exact_rows_are_terms_over_the_bank():
    space = SurrogateSpace.sample(PRIOR, seeds=3, rng=0)
    assert Round(space, 0, 5).terms == []
    assert as_proposals(space.bank, sp.csr_array((0, 3))) == ()
    proposed = as_proposals(space.bank, np.array([[0, 2.0, 0], [3.0, 0, 4.0]]))
    assert [proposal.condition for proposal in proposed] == [{}, {}]
    assert Round(space, 0, 5, proposed).terms == [
        ((space.bank.seeds[1], 1.0),),
        ((space.bank.seeds[0], 0.6), (space.bank.seeds[2], 0.8)),
    ]


# --- fixed


def test_a_fixed_box_takes_the_whole_budget_and_its_axes_first():
    space = SurrogateSpace.sample(PRIOR, seeds=3, rng=0)
    round = fixed(space)(history([1.0, 2.0], running=(0,)), 7, 0)
    assert (round.space, round.number, round.size) == (space, 0, 2 + 1 + 7)
    assert round.terms == [((seed, 1.0),) for seed in space.bank.seeds]
    assert fixed(space, seeds_first=False)(history([]), 7, 0).terms == []
    assert fixed(space, number=4)(history([1.0]), 7, 0).size == 7


# --- draws


def test_draws_are_draws_whatever_the_box():
    policy = draws(PRIOR, 5, axes=4)
    round = policy(history([]), 20, 3)
    assert (round.number, round.size, round.space.axes, round.space.fresh) == (0, 5, 4, 1.0)
    new = [Draw(1, i) for i in range(2)]
    assert round.space.terms(np.full((2, 3), 0.5), draws=new) == [((new[0], 1.0),), ((new[1], 1.0),)]
    assert round.terms == []


def test_draws_end_when_their_round_closes():
    policy = draws(PRIOR, 3, axes=2)
    assert policy(history([1, 2]), 20, 0).size == 3
    assert policy(history([1, 2, np.nan]), 20, 0) is None
    assert policy(history([1, 2, 3, 4]), 20, 0) is None
    assert policy(history([1, 2, 3], [0, 0, 1]), 20, 0).size == 3


@pytest.mark.parametrize("n", [0, -1])
def test_no_draws_are_refused(n):
    with pytest.raises(ArgumentError, match=f"n: expected at least one draw, got {n}"):
        draws(PRIOR, n, axes=2)


# --- o3


def test_o3_draws_first_and_then_searches_between_the_best():
    policy = o3(PRIOR, 5, seeds=3)
    assert policy(history([4, 8, np.nan, 1]), 16, 0).space.fresh == 1.0
    round = policy(history([4, 8, np.nan, 1, 6]), 15, 0)
    assert (round.number, round.size, round.space.fresh) == (1, 15, 0.0)
    assert seeds_of(round) == [[Draw(5, 1)], [Draw(5, 4)], [Draw(5, 0)]]
    np.testing.assert_array_equal(round.space.frame, np.eye(3))
    assert round.terms == []  # the best were evaluated as draws


def test_o3_looks_at_the_closed_round_only():
    policy = o3(PRIOR, 3, seeds=2)
    first = policy(history([4, 8, 6]), 9, 0)
    later = policy(history([4, 8, 6, 99, 50, np.nan], [0, 0, 0, 0, 1, 1], running=(1,)), 6, 0)
    assert first.space.fingerprint == later.space.fingerprint
    assert later.size == 2 + 1 + 6


def test_o3_axes_may_be_combinations_over_shared_and_stored_seeds():
    row = torch.randn(24, generator=torch.Generator().manual_seed(0))
    stored = SurrogateSpace.sample(PRIOR, seeds=2, rng=0).bank.extend([row])
    terms = [
        ((Draw(5, 0), 0.6), (Draw(5, 1), 0.8)),
        ((Draw(5, 1), 1.0),),
        ((stored.seeds[-1], 1.0),),
    ]
    round = o3(PRIOR, 3, seeds=3, chart=Angular())(history([3, 2, 1], terms=terms, tensors=stored.tensors), 9, 0)
    assert round.space.bank.seeds == (Draw(5, 0), Draw(5, 1), stored.seeds[-1])
    assert round.space.chart == Angular()
    assert round.space.bank.terms(round.space.frame)[:2] == terms[:2]
    assert round.space.latents(np.full((2, 2), 0.3))["latents"].shape == (2, 24)


@given(st.permutations(range(6)), st.integers(0, 2**32))
def test_o3_gives_every_worker_the_same_turn(order, rng):
    values = np.array([3.0, 1, 2, 6, 5, 4])[list(order)]
    terms = [((Draw(5, i), 1.0),) for i in order]
    policy = o3(PRIOR, 6, seeds=4)
    turns = [policy(dataclasses.replace(history(values, terms=terms), running=r), 9, rng) for r in ((), (1, 1))]
    assert turns[0].space.fingerprint == turns[1].space.fingerprint
    assert seeds_of(turns[0]) == [[Draw(5, 3)], [Draw(5, 4)], [Draw(5, 5)], [Draw(5, 0)]]


@pytest.mark.parametrize(("n", "seeds", "most"), [(10, 1, 10), (10, 11, 10), (100, 25, 24)])
def test_o3_seeds_beyond_draws_or_dimensions_are_refused(n, seeds, most):
    with pytest.raises(ArgumentError, match=rf"seeds: expected 2 to min\(n, D\) = {most}, got {seeds}"):
        o3(PRIOR, n, seeds=seeds)


def test_the_number_of_seeds_follows_the_papers_table():
    assert {n: o3_seeds(n) for n in O3_SEEDS} == O3_SEEDS
    assert [o3_seeds(n) for n in (1, 4, 8, 12, 16)] == [2, 2, 2, 3, 4]
    assert o3_seeds(10**6) == 50


@given(st.integers(4, 3000))
def test_the_number_of_seeds_fits_half_the_budget(budget):
    assert 2 <= o3_seeds(budget) <= budget // 2
    o3(Gaussian((64,)), budget // 2, seeds=o3_seeds(budget))  # which refuses more seeds than draws


# --- stopped trials


def _stopped_told(n, name="best", goal="maximize"):
    """n finished trials that passed step 3 with half their value, and three stopped there; one failed."""
    values = np.concatenate([np.arange(n, dtype=float), [np.nan] * 4])
    checkpoint_estimates = np.concatenate([np.arange(n) / 2 + 1, [0.0, -1.0, 0.5, np.nan]])
    estimates = np.where(np.isnan(values), checkpoint_estimates, np.nan)
    objective = Objective(Metric(name, goal), score=lambda outputs, conditions: outputs)
    terms = [((Draw(0, k), 1.0),) for k in range(n + 4)]
    rounds = np.zeros(n + 4, dtype=np.int64)
    return History(
        objective,
        terms,
        {name: values},
        rounds,
        estimates={name: estimates},
        checkpoint_estimates={3: checkpoint_estimates},
    )


def test_stopped_trials_stand_between_the_finished_and_the_failed():
    history = _stopped_told(8)
    assert history.order.tolist() == [7, 6, 5, 4, 3, 2, 1, 0, 10, 8, 9, 11]


def test_stopped_trials_are_predicted_on_the_line_of_the_finished():
    history = _stopped_told(8)
    extrapolated = history.extrapolated()["best"]
    np.testing.assert_allclose(extrapolated[:11], [*range(8), -2, -4, -1], atol=1e-9)
    assert np.isnan(extrapolated[11])
    np.testing.assert_allclose(_stopped_told(4).extrapolated()["best"][4:7], [0, -1, 0.5])  # too few for a line


def test_rows_of_what_was_told_keep_their_estimates():
    part = _stopped_told(8).rows(np.array([1, 9, 10]))
    np.testing.assert_array_equal(part.estimates["best"], [np.nan, -1, 0.5])
    np.testing.assert_array_equal(part.checkpoint_estimates[3], [1.5, -1, 0.5])
