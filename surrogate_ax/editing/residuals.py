"""Residual-space evolution: variants of an item that stay near it while a condition or a score changes.

A conditional generator splits an item into its condition and a residual r, the latent from which it is made under that
condition: r_0 = invert(x_0, own condition). Under another condition, residuals near r_0 give items like x_0. With
b the share of noise, θ an angle, r_k the residuals of other items under their own conditions:

    self-pollination    r' = √(1-b²) r + b ε          explores around what is good
    cross-pollination   r' = cos θ r + sin θ Σ w_k r_k / |..|   brings in what others have

Directions are those of unit seeds; a stored residual keeps its own radius (see `latents.bank`). Parents are the elite:
the best rows that differ from each other, which is also the archive.
Source: residual-space evolutionary optimisation (arXiv 2606.20084), its two operators; here as a policy of rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Cap
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.evolution import finite, fresh_draws, next_round
from surrogate_ax.policies.history import History, Policy, Round, as_proposals

ALIKE = 0.98  # cosine above which two rows count as one of the archive
CROSSED = 3  # residuals that a cross-pollinated row brings in


def residual_bank(
    prior: Prior,
    own: Latents | Tensor,
    others: Latents | Tensor | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Bank:
    """The item's residual and those of others as stored seeds, the item's first.

    Args:
        prior: the law of the latents.
        own: parts (1, *shape), such as `invert(generator, x, condition).latents`.
        others: parts (k, *shape) of other items, each inverted under its own condition.
        device: where latents are made.

    Raises:
        ShapeError: residuals of another shape.
        ArgumentError: not one residual of the item.
    """
    mine = prior.to_inner(check_latents(own, prior, name="own"), rng=0)
    if len(mine) != 1:
        raise ArgumentError(f"own: expected the residual of one item, got {len(mine)}.")
    rows = [*mine, *(() if others is None else prior.to_inner(check_latents(others, prior, name="others"), rng=0))]
    return Bank(prior, rows, device=device)


def residual_space(bank: Bank, *, axes: int, theta: float = 0.8, rng: int) -> SurrogateSpace:
    """A fixed box around the item's residual: a cap of angle θ towards the others and fresh draws.

    Any sampler of a host searches it, multi-objective ones as NSGA-II too.

    Args:
        bank: from `residual_bank`.
        axes: K, at least 2.
        theta: θ, how far from the residual the box reaches, in (0, π/2].
        rng: seed of the draws that stand in where there are fewer than K - 1 others.
    """
    return _cap(bank, range(1, len(bank.seeds)), axes, theta, 0, rng)


def pollinate(
    bank: Bank,
    *,
    axes: int,
    size: int = 12,
    b: float = 0.4,
    anneal: float = 0.85,
    theta: float = 0.5,
    cross: float = 0.5,
    elite: int = 4,
    max_trials: int | None = None,
) -> Policy:
    """Rounds of self- and cross-pollinated residuals of the elite, the item's own residual first.

    Args:
        bank: from `residual_bank`.
        axes: K of the box in which the host samples beside the proposals.
        size: trials a round.
        b: share of noise of self-pollination in the first round.
        anneal: what b and θ are multiplied with from round to round.
        theta: θ of cross-pollination in the first round.
        cross: share of a round that is cross-pollinated; 0 where there are no others.
        elite: parents, at most.
        max_trials: ended trials after which the policy ends.

    Raises:
        ArgumentError: shares or angles out of range.

    Reference: arXiv 2606.20084.
    """
    if not (0 < b < 1 and 0 < anneal <= 1 and 0 <= cross <= 1 and elite >= 1):
        raise ArgumentError(f"b, anneal, cross, elite: out of range, got {b}, {anneal}, {cross}, {elite}.")
    Cap(theta)
    others = len(bank.seeds) - 1

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found
        closed = len(np.unique(before.round))
        share, angle = b * anneal**closed, theta * anneal**closed
        draws = fresh_draws(number, size, rng)
        known = bank.extend([seed for row in before.terms for seed, _ in row]).extend(draws)
        own = known.rows([((bank.seeds[0], 1.0),)]).toarray()
        parents = archive(before, known, elite) if before.terms else own
        crossed = int(np.floor(cross * size + 0.5)) if others else 0
        random = np.random.default_rng([rng, number])
        children = own if number == history.begin or not before.terms else np.zeros((0, own.shape[1]))
        for k in range(size - len(children)):
            parent = parents[k % len(parents)]
            if k < crossed:
                child = np.cos(angle) * parent + np.sin(angle) * _foreign(known, others, random)
            else:
                noise = known.rows([((draws[k], 1.0),)]).toarray()[0]
                child = np.sqrt(1 - share**2) * parent + share * noise
            children = np.vstack([children, child])
        space = _cap(known, range(1, others + 1), axes, theta, number, rng)
        return Round(space, number, size, as_proposals(space.bank, _widened(children, space.bank)))

    return policy


def archive(history: History, bank: Bank, most: int, *, alike: float = ALIKE) -> Array:
    """Coefficient rows (k, M) of the best evaluated ones that differ from each other, best first; k at least 1.

    Args:
        history: what was evaluated.
        bank: of every seed that it names.
        most: rows, at most.
        alike: cosine above which two rows count as one.
    """
    good = [int(i) for i in history.order if finite(history)[i]] or [0]
    rows = bank.normalise(bank.rows(history.terms[i] for i in good)).toarray()
    kept: list[int] = []
    for i in range(len(rows)):
        if len(kept) == most:
            break
        if not kept or float(np.max(bank.gram(rows[[*kept, i]])[-1, :-1])) < alike:
            kept.append(i)
    return np.asarray(rows[kept])


def _foreign(bank: Bank, others: int, random: np.random.Generator) -> Array:
    """A unit-norm combination of a few other residuals, as a row over the bank."""
    row = np.zeros(len(bank.seeds))
    chosen = random.choice(np.arange(1, others + 1), size=min(CROSSED, others), replace=False)
    row[chosen] = np.abs(random.standard_normal(len(chosen)))
    return np.asarray(bank.normalise(row[None]).toarray()[0])


def _cap(bank: Bank, others: Any, axes: int, theta: float, number: int, rng: int) -> SurrogateSpace:
    """A cap around the bank's first seed, towards others and then fresh draws."""
    chosen: list[Terms] = [((bank.seeds[k], 1.0),) for k in (0, *list(others)[: axes - 1])]
    missing = fresh_draws(number, axes, rng)[: axes - len(chosen)]
    wider = bank.extend(missing)
    frame = wider.rows([*chosen, *[((draw, 1.0),) for draw in missing]]).toarray()
    return SurrogateSpace(wider, frame, chart=Cap(theta))


def _widened(rows: Array, bank: Bank) -> Array:
    """Rows over the first seeds of a bank, as rows over all of them."""
    return np.hstack([rows, np.zeros((len(rows), len(bank.seeds) - rows.shape[1]))])
