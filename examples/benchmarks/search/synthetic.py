"""Objectives of latents that cost nothing, of which everything is known, and the planned search on them in memory.

Scores are in standard deviations of plain draws, of mean about 0, and level off below `CAP`, as no score is endless.
The kinds: a direction; parts that are positive beside a direction; the distance from a point in some directions; a
curved, rough one. x latents (n, D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from surrogate_ax import Gaussian, Metric, Objective
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import History, Policy

Array = np.ndarray
Score = Callable[[Array], Array]
D, KINDS, POOL, CAP = 768, 4, 4096, 6.0
PRIOR = Gaussian((D,))


def _raw(kind: int, rng: np.random.Generator) -> Score:
    a, b = (rng.standard_normal((D, 24)) / np.sqrt(D) for _ in range(2))
    wide, target = np.linspace(1, 0.1, 24), rng.standard_normal(24)
    if kind == 0:
        return lambda x: np.asarray(x @ a[:, 0])
    if kind == 1:
        return lambda x: np.asarray((x @ a * wide).clip(0).sum(1) + 0.3 * (x @ b)[:, 0])
    if kind == 2:
        return lambda x: np.asarray(-np.abs((x @ a - target) * wide).sum(1))
    return lambda x: np.asarray(np.tanh(x @ a[:, 0]) + np.sin(2 * x @ b[:, 0]) - 0.2 * np.abs(x @ a[:, 1:4]).sum(1))


def objective(kind: int, rng: int) -> Score:
    """An objective of a kind, standardised over plain draws."""
    random = np.random.default_rng([kind, rng])
    raw = _raw(kind, random)
    pool = raw(random.standard_normal((POOL, D)))
    centre, spread = float(pool.mean()), float(pool.std())
    return lambda x: np.asarray(CAP * np.tanh((raw(x) - centre) / spread / CAP))


def related(score: Score, kind: int, rng: int, rho: float) -> Score:
    """An objective of the same kind whose scores of plain draws correlate so much with those of another."""
    other = objective(kind, rng + 10**6)
    return lambda x: np.asarray(rho * score(x) + np.sqrt(1 - rho**2) * other(x))


def latents(terms: Sequence[Terms]) -> Array:
    """x (n, D) of coefficient rows."""
    bank = Bank(PRIOR, ()).extend([seed for row in terms for seed, _ in row])
    return np.asarray(bank.inner(bank.rows(terms)).double().numpy())


def search(policy: Policy, score: Score, total: int, rng: int, metric: Metric | None = None) -> History:
    """A search of so many trials, as the loop runs it."""
    metric = metric or Metric("score")
    judged = Objective(metric, score=lambda outputs, _: outputs)
    history = History(judged, [], {metric.name: np.zeros(0)}, np.zeros(0, dtype=np.int64))
    entropy = draw_entropy(rng, "trials")
    while (done := len(history.terms)) < total:
        round = policy(history, total - done, rng)
        if round is None:
            break
        exact = [proposal.terms for proposal in round.proposals]
        asked = exact + [((Draw(entropy, done + i), 1.0),) for i in range(len(exact), round.size)]
        asked = asked[: total - done]
        values = np.append(history.values[metric.name], score(latents(asked)))
        history = History(
            judged,
            [*history.terms, *asked],
            {metric.name: values},
            np.append(history.round, np.full(len(asked), round.number)),
        )
    return history
