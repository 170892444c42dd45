"""Portfolios: the best few whose latents differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import History

PRIOR = Gaussian((512,))
OBJECTIVE = Objective(Metric("best"), Metric("risk", "at_most", 0.5), score=lambda outputs, conditions: outputs)


def history(n, *, seed=0, axes=4, failed=(), risk=None):
    space = SurrogateSpace.sample(PRIOR, seeds=axes, rng=1)
    rng = np.random.default_rng(seed)
    best = rng.normal(size=n)
    best[list(failed)] = np.nan
    values = {"best": best, "risk": np.zeros(n) if risk is None else np.asarray(risk)}
    return History(OBJECTIVE, space.terms(rng.uniform(size=(n, axes - 1))), values, np.zeros(n, dtype=int))


def cosines(made, rows):
    """Of the latents themselves."""
    bank = made.bank(PRIOR)
    xi = bank.inner(bank.rows([made.terms[i] for i in rows])).double().numpy()
    xi /= np.linalg.norm(xi, axis=1, keepdims=True)
    return xi @ xi.T


@given(st.integers(1, 40), st.integers(1, 8), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.integers(0, 2**32 - 1))
def test_the_chosen_are_the_best_that_differ(n, k, limit, seed):
    made = history(n, seed=seed)
    chosen = choose(made, PRIOR, k=k, max_cosine=limit)
    assert 1 <= len(chosen) <= k
    assert chosen[0] == int(np.nanargmax(made.values["best"]))
    assert (np.diff(made.values["best"][chosen]) <= 0).all()
    bank = made.bank(PRIOR)
    gram = bank.gram(bank.rows(made.terms))
    assert (gram[np.ix_(chosen, chosen)] - 2 * np.eye(len(chosen))).max() <= limit
    # Greedy: whoever was passed over is too near to a chosen better one, unless k were found before.
    for i in set(range(n)) - set(chosen):
        better = [j for j in chosen if made.values["best"][j] >= made.values["best"][i]]
        assert len(better) == k or gram[i, better].max() > limit


def test_cosines_of_rows_are_those_of_the_latents():
    made = history(30)
    chosen = choose(made, PRIOR, k=5, max_cosine=0.8)
    assert len(chosen) > 1
    assert (cosines(made, chosen) - 2 * np.eye(len(chosen))).max() < 0.8 + 5 / np.sqrt(512)


def test_stored_seeds_are_measured():
    x = np.linalg.qr(np.random.default_rng(0).normal(size=(512, 2)))[0].T * np.sqrt(512)
    near = 0.9 * x[0] + np.sqrt(1 - 0.81) * x[1]
    bank = Bank(PRIOR, [torch.from_numpy(row).float() for row in (x[0], near, x[1])])
    values = {"best": np.array([3.0, 2.0, 1.0]), "risk": np.zeros(3)}
    made = History(OBJECTIVE, bank.terms(np.eye(3)), values, np.zeros(3, dtype=int), (), bank.tensors)
    assert choose(made, PRIOR, k=3, max_cosine=0.85) == [0, 2]
    assert choose(made, PRIOR, k=3, max_cosine=0.95) == [0, 1, 2]


def test_equal_and_opposite_latents():
    rows = [((Draw(0, 0), 1.0),), ((Draw(0, 0), 1.0),), ((Draw(0, 0), -1.0),)]
    made = History(OBJECTIVE, rows, {"best": np.array([3.0, 2, 1]), "risk": np.zeros(3)}, np.zeros(3, dtype=int))
    assert choose(made, PRIOR, k=3, max_cosine=0.99) == [0, 2]


def test_failed_trials_are_never_chosen_and_the_feasible_come_first():
    made = history(12, failed=(0, 3, 5), risk=[0.9] * 6 + [0.1] * 6)
    chosen = choose(made, PRIOR, k=12, max_cosine=1.0)
    assert sorted(chosen) == [1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert set(chosen[:6]) == set(range(6, 12))


@pytest.mark.parametrize(("k", "limit"), [(0, 0.9), (3, 0.0), (3, 1.1), (3, float("nan"))])
def test_limits_that_make_no_sense_are_refused(k, limit):
    with pytest.raises(
        ArgumentError, match=rf"expected k >= 1 and max_cosine in \(0, 1\], got k={k}, max_cosine={limit}"
    ):
        choose(history(3), PRIOR, k=k, max_cosine=limit)


@pytest.mark.parametrize("made", [history(0), history(2, failed=(0, 1))], ids=["nothing", "failures"])
def test_nothing_to_choose_from_is_said(made):
    with pytest.raises(ArgumentError, match="portfolio: no trial of the study has succeeded"):
        choose(made, PRIOR, k=2)
