"""The coding of a round: every point, exact proposals too, is a point of one of its boxes."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import RecordedPrior
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.latents.typicality import bank_support, recorded_prior
from surrogate_ax.policies.fresh_noise import ODD
from surrogate_ax.policies.history import Round, as_proposals

PRIOR = Gaussian((64,))
NEW = Draw(5, 0)


def unit_rows(n, m, rng=0):
    rows = np.random.default_rng(rng).standard_normal((n, m))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def params(u):
    return {f"u{k}": float(x) for k, x in enumerate(u)}


@pytest.mark.parametrize("axes", [2, 3, 8, 50])
@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_every_proposal_is_a_corner_of_a_box_and_decodes_to_itself(axes, count):
    bank = Bank(PRIOR, [Draw(1, i) for i in range(64)])
    rows = unit_rows(axes + count, 64)
    proposals = as_proposals(bank, np.vstack([rows[axes:], rows[: axes // 2]]))
    round = Round(SurrogateSpace(bank, rows[:axes]), 3, 99, proposals)
    assert len(round.boxes) == 1 + -(-count // axes)
    for i, proposal in enumerate(proposals):
        box, u = round.place(i)
        assert (box == 0) == (i >= count)  # axes of the round's own box lie there
        got = dict(round.point(params(u), NEW, box))
        assert got.keys() == dict(proposal.terms).keys()
        np.testing.assert_allclose([got[s] for s, _ in proposal.terms], [c for _, c in proposal.terms], atol=1e-12)


def test_a_box_with_fresh_noise_holds_no_exact_proposal():
    bank = Bank(PRIOR, [Draw(1, i) for i in range(4)])
    round = Round(SurrogateSpace(bank, np.eye(4), fresh=0.3), 0, 8, as_proposals(bank, np.eye(4)[:1]))
    assert round.place(0)[0] == 1
    assert dict(round.point(params(round.place(0)[1]), NEW, 1)) == {Draw(1, 0): 1.0}


def test_a_point_takes_the_noise_that_its_box_wants_and_more_where_it_would_look_odd():
    bank = Bank(PRIOR, [Draw(1, i) for i in range(4)])
    plain = Round(SurrogateSpace(bank, np.eye(4), fresh=0.3), 0, 8)
    assert dict(plain.point(params([0.5] * 3), NEW))[NEW] == pytest.approx(0.3)
    spoilt = bank.extend([_pulled()])
    odd = Round(SurrogateSpace(spoilt, np.eye(5)[[4, 0]], fresh=0.3), 0, 8)
    terms = odd.point(params([0.0]), NEW)
    assert dict(terms)[NEW] > 0.3
    whole = spoilt.extend([NEW])
    assert bank_support(whole, whole.rows([terms])).joint[0] >= ODD


def _pulled():
    """A latent (64,) of a draw's radius whose mean is far from 0."""
    x = Bank(PRIOR, [Draw(1, 9)]).inner(np.eye(1))[0] + 0.8
    return x / x.square().mean().sqrt()


def test_points_outside_are_refused_by_name():
    bank = Bank(PRIOR, [Draw(1, i) for i in range(3)])
    round = Round(SurrogateSpace(bank, np.eye(3)), 0, 8)
    with pytest.raises(ArgumentError, match="boxes 0 to 0, got 1"):
        round.point(params([0.5, 0.5]), NEW, 1)
    with pytest.raises(ArgumentError, match="Keep the search space"):
        round.point(params([0.5, 1.5]), NEW)


def test_a_recorded_prior_proposes_and_makes_no_latent():
    known = RecordedPrior.from_json(recorded_prior(PRIOR).to_json())
    assert (known.dim, known.fingerprint) == (PRIOR.dim, PRIOR.fingerprint)
    space = SurrogateSpace.sample(known, seeds=4, rng=0)
    assert space.fingerprint == SurrogateSpace.sample(PRIOR, seeds=4, rng=0).fingerprint
    with pytest.raises(UnsupportedError, match="Give the generator's prior"):
        space.latents(np.full((1, 3), 0.5))
