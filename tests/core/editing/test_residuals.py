"""Pollination as a policy: pure, near the item, with others' residuals, under any host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian, Metric, Objective
from surrogate_ax.editing.residuals import archive, pollinate, residual_bank, residual_space
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.policies.history import History, Round

D = 400
PRIOR = Gaussian((D,))
OBJECTIVE = Objective(Metric("value"), score=lambda outputs, conditions: np.zeros(len(conditions)))


def residuals(others: int = 4) -> Any:
    z = torch.randn(1 + others, D, generator=torch.Generator().manual_seed(0))
    z[0] *= 1.2  # an inversion's radius
    return residual_bank(PRIOR, z[:1], z[1:] if others else None)


def history(rounds: list[Round], value: Any) -> History:
    terms = [t for round in rounds for t in round.terms]
    bank = rounds[-1].space.bank.extend([s for t in terms for s, _ in t])
    z = bank.inner(bank.rows(terms)).numpy()
    numbers = np.concatenate([np.full(len(round.terms), round.number) for round in rounds])
    return History(OBJECTIVE, terms, {"value": value(z)}, numbers, tensors=bank.tensors)


def test_the_items_own_residual_comes_first_at_its_radius() -> None:
    bank = residuals()
    first = pollinate(bank, axes=4, size=6)(History(OBJECTIVE, [], {"value": np.zeros(0)}, np.zeros(0, int)), 24, 0)
    assert first is not None
    assert first.number == 0
    assert len(first.proposals) == 6
    made = first.space.bank.latents_of(first.terms)["latents"]
    torch.testing.assert_close(made[0], bank.latents(np.eye(1, 5))["latents"][0])


def test_children_stay_near_and_carry_others() -> None:
    bank = residuals()
    own = bank.inner(np.eye(1, 5))[0]
    first = pollinate(bank, axes=4, size=8, b=0.4, theta=0.5)(
        History(OBJECTIVE, [], {"value": np.zeros(0)}, np.zeros(0, int)), 24, 0
    )
    assert first is not None
    z = first.space.bank.latents_of(first.terms)["latents"]
    cosine = torch.nn.functional.cosine_similarity(z, own[None])
    assert (cosine[1:5] - np.cos(0.5)).abs().max() < 0.06  # crossed by θ
    assert (cosine[5:] - (1 - 0.4**2) ** 0.5).abs().max() < 0.06
    crossed = [sum(seed in bank.seeds[1:] for seed, _ in terms) for terms in first.terms]
    assert crossed[1:5] == [3] * 4
    assert crossed[5:] == [0] * 3
    alone = pollinate(residuals(0), axes=4, size=8)(
        History(OBJECTIVE, [], {"value": np.zeros(0)}, np.zeros(0, int)), 24, 0
    )
    assert alone is not None
    assert len(alone.proposals) == 8


def test_rounds_are_pure_and_climb() -> None:
    bank = residuals()
    policy = pollinate(bank, axes=4, size=12)
    goal = torch.randn(D, generator=torch.Generator().manual_seed(3)).numpy()

    def value(z: np.ndarray) -> np.ndarray:
        return np.asarray(z @ goal / D)

    rounds: list[Round] = []
    known = History(OBJECTIVE, [], {"value": np.zeros(0)}, np.zeros(0, int))
    best = []
    for number in range(6):
        round = policy(known, 100, 7)
        again = policy(known, 100, 7)
        assert round is not None
        assert again is not None
        assert round.number == number
        assert round.terms == again.terms
        rounds.append(round)
        known = history(rounds, value)
        best.append(float(known.values["value"].max()))
    assert best == sorted(best)
    assert best[-1] > best[0]
    assert policy(History(OBJECTIVE, [], {"value": np.zeros(0)}, np.zeros(0, int)), 100, 8).terms != rounds[0].terms  # type: ignore[union-attr]
    assert pollinate(bank, axes=4, size=12, max_trials=72)(known, 100, 7) is None


def test_the_archive_holds_the_best_that_differ() -> None:
    bank = residuals()
    a, b = bank.seeds[1], bank.seeds[2]
    terms = [((a, 1.0),), ((a, 0.9999), (b, 0.0141)), ((b, 1.0),)]
    known = History(OBJECTIVE, terms, {"value": np.array([3.0, 2.0, 1.0])}, np.zeros(3, int), tensors=bank.tensors)
    kept = archive(known, bank, 2)
    np.testing.assert_allclose(kept, bank.rows([terms[0], terms[2]]).toarray())
    failed = History(OBJECTIVE, terms, {"value": np.full(3, np.nan)}, np.zeros(3, int), tensors=bank.tensors)
    assert len(archive(failed, bank, 2)) == 1


def test_the_box_is_a_cap_around_the_item() -> None:
    bank = residuals(2)
    space = residual_space(bank, axes=6, theta=0.6, rng=0)
    assert space.axes == 6
    u = np.random.default_rng(0).uniform(size=(50, 5))
    z = space.latents(u)["latents"]
    cosine = torch.nn.functional.cosine_similarity(z, bank.inner(np.eye(1, 3)))
    assert cosine.min() > np.cos(0.6) - 0.1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="residual of one item, got 2"):
        residual_bank(PRIOR, torch.randn(2, D))
    with pytest.raises(ShapeError, match="others"):
        residual_bank(PRIOR, torch.randn(1, D), torch.randn(2, 3))
    for options in ({"b": 0.0}, {"anneal": 1.5}, {"cross": -0.1}, {"elite": 0}, {"theta": 3.0}):
        with pytest.raises(ArgumentError):
            pollinate(residuals(), axes=4, **options)  # type: ignore[arg-type]
