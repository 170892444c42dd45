"""Proposals for one worker of several: from all that is told and pending, different for each, counted in rounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from surrogate_ax import Choice, Gaussian, Metric, Objective, plan
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.condition_kernel import ConditionRows, expected
from surrogate_ax.policies.gaussian_process import fit
from surrogate_ax.policies.history import History, Proposal, Sharing
from surrogate_ax.policies.one_by_one import AT_ONCE
from surrogate_ax.policies.proposer import Proposer

D, TOTAL = 48, 60
PRIOR = Gaussian((D,))
OBJECTIVE = Objective(Metric("gain"), score=lambda outputs, _: outputs)
MADE = plan(TOTAL, dim=D)


def known(n, *, rounds=None, running=(), pending=(), workers=8, name="a", batch=1, conditions=()):
    terms = [((Draw(1, i), 1.0),) for i in range(n)]
    values = {"gain": np.sin(np.arange(n) * 2.0)}
    numbers = np.array([0] * min(n, MADE.draws) + [1] * max(0, n - MADE.draws) if rounds is None else rounds, dtype=int)
    sharing = Sharing(workers, name, batch)
    return History(OBJECTIVE, terms, values, numbers, running, pending=pending, sharing=sharing, conditions=conditions)


def propose(history, *, made=MADE, conditions=None):
    return made.policy(PRIOR, conditions=conditions)(history, TOTAL - len(history.terms) - len(history.running), 5)


def cosine(one, other):
    bank = known(0).bank(PRIOR).extend([seed for terms in (one, other) for seed, _ in terms])
    return bank.gram(bank.rows([one, other]))[0, 1]


def test_one_worker_has_rounds_and_several_have_proposals_of_their_own():
    alone, one = propose(known(20, workers=1)), propose(known(20))
    assert (alone.shared, alone.number, alone.size, len(alone.proposals)) == (True, 1, 8, 8)
    assert (one.shared, one.number, one.size, len(one.proposals)) == (False, 1, 8, 1)
    assert known(20).open(one) == 1  # whatever others have asked of a round of this number


def test_workers_that_know_the_same_propose_differently_and_each_the_same_again():
    one, again, other = propose(known(20)), propose(known(20)), propose(known(20, name="b"))
    assert one.terms == again.terms
    assert one.terms != other.terms
    assert cosine(one.terms[0], one.terms[0]) == pytest.approx(1)


def test_nobody_waits_for_draws_or_a_round_to_end():
    still = propose(known(MADE.draws - 6, running=[0] * 5))
    assert (still.number, still.space.fresh, still.terms) == (0, 1.0, [])
    beyond = propose(known(MADE.draws - 6, running=[0] * 6))
    assert (beyond.number, len(beyond.proposals)) == (1, 1)
    assert propose(known(MADE.draws + 5, running=[1] * 3)).number == 2


def test_with_too_few_values_there_are_more_draws():
    few = propose(known(4, rounds=[0] * 4, running=[0] * 12))
    assert (few.number, few.space.fresh, few.terms) == (1, 1.0, [])


@pytest.mark.parametrize(("workers", "batch", "count"), [(2, 16, 4), (2, 3, 3), (8, 16, 1), (12, 16, 1), (3, 16, 2)])
def test_a_batch_is_as_large_as_pending_trials_may_be_many(workers, batch, count):
    assert len(propose(known(20, workers=workers, batch=batch)).proposals) == count
    assert AT_ONCE == 8


def test_more_workers_than_that_have_rounds_where_the_plan_knows_of_them():
    assert not propose(known(20, workers=20)).shared
    large = plan(200, dim=D, workers=20)
    assert (large.size, large.draws) == (20, 20)
    shared = propose(known(40, rounds=[0] * 20 + [1] * 20, workers=20), made=large)
    assert (shared.shared, len(shared.proposals)) == (True, 20)
    assert plan(TOTAL, dim=D, workers=8) == MADE


def test_what_is_pending_counts_with_the_value_that_is_expected_of_it():
    terms = known(20).terms
    bank = known(20).bank(PRIOR).extend([Draw(9, 0)])
    rows = bank.rows([*terms, ((Draw(1, 0), 0.8), (Draw(9, 0), 0.6))])
    gram, scores = bank.gram(rows), np.sin(np.arange(20) * 2.0)
    mean = expected(gram, scores, np.zeros((21, 0)), ConditionRows({}))
    posterior = fit(gram[:20, :20], scores)
    assert mean == pytest.approx(posterior.moments(posterior.kernel(gram[20:, :20]))[0])
    assert mean.shape == (1,)


def test_a_point_that_is_pending_is_left():
    quiet = dataclasses.replace(MADE, anneal_over=1)  # as little fresh noise as there is
    first = propose(known(40, rounds=[0] * 16 + [1] * 8 + [2] * 8 + [3] * 8), made=quiet)
    full = [0] * 16 + [1] * 8 + [2] * 8 + [3] * 8
    pending = [Proposal(first.terms[0])] * 4
    unaware = propose(known(40, rounds=full, running=[4] * 4, name="b"), made=quiet)
    aware = propose(known(40, rounds=full, running=[4] * 4, pending=pending, name="b"), made=quiet)
    assert aware.terms != unaware.terms
    assert cosine(aware.terms[0], first.terms[0]) < cosine(unaware.terms[0], first.terms[0])


def test_proposals_have_conditions():
    searched = {"style": Choice(["x", "y"])}
    conditions = [{"style": "xy"[i % 2]} for i in range(20)]
    pending = [Proposal(((Draw(2, 0), 1.0),), {"style": "x"}), Proposal(((Draw(2, 1), 1.0),))]  # of elsewhere: none
    asked = propose(known(20, conditions=conditions, pending=pending, running=[1, 1]), conditions=searched)
    assert asked.proposals[0].condition["style"] in ("x", "y")


def test_rounds_go_on_behind_proposals_of_several_workers():
    proposer = Proposer.planned(MADE, PRIOR, total_trials=TOTAL, rng=3)
    own = proposer.round(known(20))
    later = known(21, rounds=[0] * 16 + [1] * 5, workers=1)
    round = proposer.round(later, own)
    assert (round.shared, round.number, proposer.open(later, round)) == (True, 1, 3)
