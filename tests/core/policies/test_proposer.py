"""A proposer says where a search goes on, from its history alone, and can be written down."""

from __future__ import annotations

import json

import numpy as np
import pytest

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace, fixed, plan
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import History, Proposal, Round, as_proposals
from surrogate_ax.policies.proposer import Proposer

PRIOR = Gaussian((40,))
OBJECTIVE = Objective(Metric("gain"), score=lambda outputs, conditions: None)


def history(n, rounds=None, running=()):
    terms = [((Draw(1, i), 1.0),) for i in range(n)]
    values = {"gain": np.random.default_rng(0).standard_normal(n)}
    return History(OBJECTIVE, terms, values, np.zeros(n, int) if rounds is None else np.array(rounds), running)


def _proposer(total=48):
    return Proposer.planned(plan(total, dim=40), PRIOR, total_trials=total, rng=3)


def test_a_planned_one_goes_through_json_and_proposes_the_same():
    one = _proposer()
    record = json.loads(json.dumps(one.to_json()))
    other = Proposer.from_json(record, PRIOR)
    for known in (history(0), history(16), history(24, [0] * 16 + [1] * 8)):
        mine, theirs = one.round(known), other.round(known)
        assert (mine.number, mine.size, mine.proposals) == (theirs.number, theirs.size, theirs.proposals)
    assert record["plan"]["narrow"] == 48  # the words of a record are those of the first release


def test_a_policy_of_ones_own_cannot_be_written():
    with pytest.raises(UnsupportedError, match="policy of your own"):
        Proposer(fixed(SurrogateSpace.sample(PRIOR, seeds=3, rng=0)), 9, 0).to_json()


def test_the_round_stays_until_it_closes():
    proposer = _proposer()
    first = proposer.round(history(0))
    assert proposer.round(history(15), first) is first
    assert proposer.round(history(16), first).number == 1
    assert proposer.open(history(10, running=[0] * 4), first) == 2
    assert _proposer(12).open(history(10, running=[0]), first) == 1  # the budget ends before the round does


def test_a_rounds_proposals_carry_conditions():
    space = SurrogateSpace.sample(PRIOR, seeds=3, rng=0)
    plain = as_proposals(space.bank, np.eye(3))
    asked = Round(space, 0, 5, [Proposal(plain[0].terms, {"scale": 2.0}), *plain[1:]])
    assert asked.terms == [((seed, 1.0),) for seed in space.bank.seeds]
    assert [dict(proposal.condition) for proposal in asked.proposals] == [{"scale": 2.0}, {}, {}]


def test_a_point_of_the_box_is_a_row():
    space = SurrogateSpace.sample(PRIOR, seeds=3, rng=0)
    round, params = Round(space, 0, 5), {"u0": 0.3, "u1": 0.6, "scale": 9.0}
    assert round.point(params, Draw(9, 9)) == space.terms(np.array([[0.3, 0.6]]))[0]
    with pytest.raises(ArgumentError, match="u"):
        round.point({"u0": 1.3, "u1": 0.6}, Draw(9, 9))
