"""A search that begins with what earlier ones have found: what is taken over of them, and the first candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.latents.bank import Bank
from surrogate_ax.policies.history import History, Policy, Proposal, Round
from surrogate_ax.policies.sources import Source

TAKEN = 96  # rows of a source, at most: the better half of them its best, the others from all of its ranking
APART = 0.9  # largest cosine between the first candidates


def taken(history: History, scores: Array, name: str) -> Source:
    """What is taken over of a search: its best rows, and as many from all of its ranking.

    Args:
        history: of rows that all have a result.
        scores: (n,) larger is better.
        name: what it is called.
    """
    order = np.argsort(-scores, kind="stable")
    rest = order[TAKEN // 2 :]
    some = rest[np.unique(np.linspace(0, len(rest) - 1, min(len(rest), TAKEN // 2)).astype(int))]
    rows = history.rows(np.concatenate([order[: TAKEN // 2], some]).astype(int))
    kept = scores[np.concatenate([order[: TAKEN // 2], some]).astype(int)]
    return Source(name, list(rows.terms), kept, list(rows.conditions) if any(rows.conditions) else [])


def warmed(policy: Policy, sources: Sequence[Source]) -> Policy:
    """A policy that sees earlier searches, whose first plain draws make place for the best of these.

    Args:
        policy: begins with a round 0 of plain draws.
        sources: earlier searches.
    """
    if not sources:
        return policy

    def seeing(history: History, remaining: int, rng: int) -> Round | None:
        round = policy(dataclasses.replace(history, sources=tuple(sources)), remaining, rng)
        if round is None or round.number or round.space.fresh < 1:
            return round
        space, terms = round.space, [row for source in sources for row in source.terms]
        bank = Bank(space.bank.prior, space.bank.seeds, tensors=history.tensors, device=space.bank.device)
        first = first_candidates(sources, bank.extend([seed for row in terms for seed, _ in row]), round.size // 2)
        return dataclasses.replace(round, space=dataclasses.replace(space, bank=bank), proposals=first)

    return seeing


def first_candidates(sources: Sequence[Source], bank: Bank, count: int) -> tuple[Proposal, ...]:
    """The best latents of each source in turn, that differ from those before.

    Args:
        sources: earlier searches.
        bank: of their seeds.
        count: how many, at most.
    """
    terms = [source.terms[i] for i in range(TAKEN) for source in sources if i < len(source.terms)]
    rows = bank.normalise(bank.rows(terms))
    cosine, chosen = bank.gram(rows), list[int]()
    for i in range(len(terms)):
        if len(chosen) < count and all(cosine[i, j] < APART for j in chosen):
            chosen.append(i)
    return tuple(Proposal(terms[i]) for i in chosen)
