"""From candidates to evaluations: what every executor does, and the one that evaluates each batch at once.

An executor is given candidates, not tensors: coefficient rows and conditions, and the bank of their round. It makes the
latents where it runs the generator, so one that runs elsewhere sends a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import FromTerms
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.deferred import Deferred
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """One item to evaluate.

    Args:
        ticket: what the host tells by: an Optuna trial, an Ax trial index.
        terms: its coefficient row over base seeds, recorded inside `ask`; a reclaimed trial brings its own.
        condition: its searched call arguments.
        round: number of its round.
    """

    ticket: T
    terms: Terms
    condition: Condition
    round: int


Completed = tuple[Sequence[Candidate[Any]], Evaluations]  # n candidates and what came of them


class Executor(Protocol):
    """Evaluates candidates; results may come back after later candidates were submitted."""

    def submit(self, candidates: Sequence[Candidate[Any]], bank: Bank) -> None:
        """Begin with n candidates.

        Args:
            candidates: n, asked of the host.
            bank: of their round; it may lack seeds of reclaimed candidates.
        """
        ...

    def collect(self, *, wait: bool) -> Sequence[Completed]:
        """What has been completed since the last call.

        Args:
            wait: nothing more is submitted before this returns, so it must return something while it holds candidates.
        """
        ...

    def close(self) -> None:
        """Let go of candidates that have not been completed."""
        ...


class Synchronous:
    """Evaluates each batch when it is submitted.

    Args:
        evaluator: generator, objective and fault policy.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._completed: list[Completed] = []

    def submit(self, candidates: Sequence[Candidate[Any]], bank: Bank) -> None:
        """Evaluate n candidates; arguments as in `Executor`."""
        z = latents_of(candidates, bank, self._evaluator.generator)
        evaluations = self._evaluator(z, [candidate.condition for candidate in candidates])
        self._completed.append((candidates, evaluations))

    def collect(self, *, wait: bool) -> Sequence[Completed]:
        """What was submitted since the last call."""
        completed, self._completed = self._completed, []
        return completed

    def close(self) -> None:
        """Nothing is held."""


def latents_of(candidates: Sequence[Candidate[Any]], bank: Bank, generator: object = None) -> Latents:
    """Named parts (n, *shape) of n candidates; for a generator that makes latents where it runs, not made yet."""
    terms = [candidate.terms for candidate in candidates]
    return (
        Deferred(bank, terms) if isinstance(generator, FromTerms) and generator.from_terms else bank.latents_of(terms)
    )
