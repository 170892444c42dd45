"""From candidates to evaluations: what every executor does, and the one that evaluates a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from surrogate_ax.generation.conditions import Condition
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator

T = TypeVar("T")

Array = np.ndarray


class Executor(Protocol):
    """The way from candidates to evaluations, which may come back after later candidates were put."""

    def submit(self, candidates: Sequence[Candidate[Any]], z: Latents) -> None:
        """Begin with n candidates and their latents, named parts (n, *shape)."""
        ...

    def collect(self, *, wait: bool) -> Sequence[tuple[Sequence[Candidate[Any]], Evaluations]]:
        """What has ended since; with `wait` nothing more is put before it returns, and it returns something."""
        ...

    def close(self) -> None:
        """Let go of candidates that have not ended."""
        ...


class Synchronous:
    """The line without detours: a batch is evaluated when it is put.

    Args:
        evaluator: generator, objective and fault policy.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._ended: list[tuple[Sequence[Candidate[Any]], Evaluations]] = []

    def submit(self, candidates: Sequence[Candidate[Any]], z: Latents) -> None:
        """Evaluate candidates."""
        evaluations = self._evaluator(z, [candidate.condition for candidate in candidates])
        self._ended.append((candidates, evaluations))

    def collect(self, *, wait: bool) -> Sequence[tuple[Sequence[Candidate[Any]], Evaluations]]:
        """What was put since."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """One proposed item.

    Args:
        ticket: what the host tells by: an Optuna trial, an Ax trial index.
        terms: its coefficient row, recorded inside `ask`; a reclaimed trial brings its own.
        condition: its searched call arguments.
        round: the turn's round.
    """

    ticket: T
    terms: Terms
    condition: Condition
    round: int
