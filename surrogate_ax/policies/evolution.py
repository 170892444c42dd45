"""Policies that move the box from round to round: recombination with fresh noise, new seeds, trust regions.

Each looks at the rounds that are closed and numbers its own after them. `max_trials` ends a policy when that many
trials have ended, so that `chain` can go on with another. Plain draws should come first,
`chain(draws(prior, 32, axes=8), evolve(prior, axes=8))`; with nothing to move from a policy draws a round itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Cap, Chart, KnotheRosenblatt
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import History, Policy, Round, as_proposals

PARENTS, NARROW, WIDE = 6, 0.1, 0.9  # of the evolution: how many latents are combined, and the range of b
SUCCESS, PACE = 0.2, 0.8  # b grows when more than this share of a round beats the best before it
STALLED = 2  # rounds without a new best after which a policy looks elsewhere


def next_round(history: History, size: int, max_trials: int | None) -> tuple[int, History] | None:
    """The number of the round to run and what was evaluated before it, or None when `max_trials` trials have ended.

    Args:
        history: what the host knows.
        size: of the policy's rounds.
        max_trials: how many are enough; None never ends.
    """
    last = history.last
    closed = last < history.begin or history.ended(last) >= size
    number = max(last + 1, history.begin) if closed else last
    before = history.before(number)
    if max_trials is not None and len(before.terms) >= max_trials:
        return None
    return number, before


def too_few(history: History) -> bool:
    """Whether there is too little to move from: fewer than two rows with values."""
    return int(np.count_nonzero(finite(history))) < 2


def more_draws(prior: Prior, axes: int, number: int, size: int, rng: int, device: torch.device | str) -> Round:
    """A round of plain draws, for a start at which everything failed."""
    space = SurrogateSpace.sample(prior, seeds=axes, rng=rng, device=device)
    return Round(dataclasses.replace(space, fresh=1.0), number, size)


def stalled(history: History, rounds: int = STALLED) -> bool:
    """Whether the last so many rounds brought no new best."""
    if not len(history.terms):
        return False
    numbers = np.unique(history.round)
    return bool(len(numbers) > rounds and history.round[history.order[0]] < numbers[-rounds])


def fresh_draws(number: int, count: int, rng: int) -> list[Draw]:
    """Fresh draws of a round, known by its number, so that every worker has the same."""
    entropy = draw_entropy(rng, f"fresh noise of round {number}")
    return [Draw(entropy, i) for i in range(count)]


def evolve(
    prior: Prior,
    *,
    axes: int,
    size: int = 12,
    b: float = 0.6,
    max_trials: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """Recombination with fresh noise: children √(1-b²) centre + b ε of the best latents so far.

    The centre is their combination with log-rank weights of unit norm. b follows the share of children that beat the
    best before them. After two rounds without a new best b starts again from its first value.

    Args:
        prior: the law of the latents.
        axes: K of the box, spanned by the best; the host samples in it when other workers hold the children.
        size: children a round.
        b: share of fresh noise at first.
        max_trials: ended trials after which the policy ends.
        device: where latents are made.
    """

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        share = _adapted(before, b)
        best = [int(i) for i in before.order[: min(PARENTS, np.count_nonzero(finite(before)))]]
        draws = fresh_draws(number, size, rng)
        bank = before.bank(prior, device).extend(draws)
        centre = bank.normalise(
            (log_ranks(len(best)) @ bank.rows(before.terms[i] for i in best).toarray())[None]
        ).toarray()
        children = np.sqrt(1 - share**2) * centre + share * bank.rows(((d, 1.0),) for d in draws).toarray()
        return Round(SurrogateSpace(bank, best_axes(before, bank, axes)), number, size, as_proposals(bank, children))

    return policy


def reseed(
    prior: Prior,
    *,
    axes: int,
    size: int = 16,
    kept: int | None = None,
    max_trials: int | None = None,
    chart: Chart | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """A new box every round: the best latents so far and fresh draws as axes, which the host's sampler searches.

    After two rounds without a new best all axes but the first are fresh.

    Args:
        prior: the law of the latents.
        axes: K.
        size: trials a round.
        kept: how many axes are the best so far; half of them if left out.
        max_trials: ended trials after which the policy ends.
        chart: of the box; Knothe-Rosenblatt if left out.
        device: where latents are made.

    Reference: arXiv 2509.23800 leaves it as an open question.
    """
    old = (axes + 1) // 2 if kept is None else kept
    if not 1 <= old <= axes:
        raise ArgumentError(f"kept: expected 1 to K = {axes}, got {old}.")

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        frame = _frame(before, prior, axes, 1 if stalled(before) else old, fresh_draws(number, axes, rng), device)
        return Round(dataclasses.replace(frame, chart=chart or KnotheRosenblatt()), number, size)

    return policy


def trust_region(
    prior: Prior,
    *,
    axes: int,
    size: int = 16,
    theta: float = 1.0,
    max_trials: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """Trust-region steps: a cap around the best latent, towards the next best and fresh draws.

    The angle halves over a round without a new best, down to a tenth, and starts again after two more of them.

    Args:
        prior: the law of the latents.
        axes: K; the first is the best, half of the others are the next best.
        size: trials a round.
        theta: the first angle, in (0, π/2].
        max_trials: ended trials after which the policy ends.
        device: where latents are made.
    """
    Cap(theta)

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        halvings = _rounds_without(before) % 4
        space = _frame(before, prior, axes, (axes + 1) // 2, fresh_draws(number, axes, rng), device)
        return Round(dataclasses.replace(space, chart=Cap(theta * 0.5**halvings)), number, size)

    return policy


def log_ranks(count: int) -> Array:
    """Weights (count,) of the best rows, best first, when they are combined."""
    return np.asarray(np.log(count + 0.5) - np.log(np.arange(1, count + 1)))


def best_axes(history: History, bank: Bank, axes: int, rows: Any = None) -> Array:
    """A frame (K, M) of given coefficient rows, then of the best evaluated ones that are not among them.

    Raises:
        ArgumentError: fewer rows were evaluated than the box has axes.
    """
    frame = np.zeros((0, len(bank.seeds))) if rows is None else np.asarray(rows)[:axes]
    if len(frame) < axes:
        others = bank.rows(history.terms[i] for i in history.order[: axes - len(frame)]).toarray()
        frame = np.vstack([frame, others])
    if len(frame) < axes:
        raise ArgumentError(f"axes: expected at most the {len(history.terms)} rows evaluated, got K = {axes}.")
    return frame


def _frame(
    history: History, prior: Prior, axes: int, kept: int, fresh: Sequence[Draw], device: torch.device | str
) -> SurrogateSpace:
    """The best `kept` rows and fresh draws as axes."""
    best = [history.terms[i] for i in history.order[: min(kept, np.count_nonzero(finite(history)))]]
    terms = [*best, *[((draw, 1.0),) for draw in fresh[: axes - len(best)]]]
    bank = Bank(prior, (), tensors=history.tensors, device=device).extend([s for row in terms for s, _ in row])
    return SurrogateSpace(bank, bank.rows(terms).toarray())


def finite(history: History) -> Array:
    """Which rows (n,) have values; failed ones have none."""
    return np.asarray(np.isfinite(np.array(list(history.values.values()))).all(axis=0))


def _rounds_without(history: History) -> int:
    """Rounds since the best."""
    numbers = np.unique(history.round)
    return int(np.count_nonzero(numbers > history.round[history.order[0]]))


def _adapted(history: History, b: float) -> float:
    """b after the policy's closed rounds, from the share of each round's rows that beat all before them."""
    share, standing = b, np.argsort(history.order)
    for number in np.unique(history.round)[1:]:
        earlier, now = standing[history.round < number], standing[history.round == number]
        better = float(np.mean(now < earlier.min()))
        share = float(np.clip(share * np.exp(PACE * (better - SUCCESS)), NARROW, WIDE))
    return b if stalled(history) and share < b / 2 else share
