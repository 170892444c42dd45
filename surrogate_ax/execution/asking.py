"""What a search by choices is made of: pages, ways of answering, the metric, and a place for what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from surrogate_ax.errors import ArgumentError, ScoreError
from surrogate_ax.scoring.objective import Metric, Objective, Score, recorded_objective

T_contra = TypeVar("T_contra", contravariant=True)
Mode = Literal["eight", "four", "pairs"]
ITEMS: Mapping[Mode, int] = {"eight": 8, "four": 4, "pairs": 2}  # of a page
AGAIN: frozenset[Mode] = frozenset({"four", "pairs"})  # modes that show the best so far again
LIKING = "liking"  # the metric: what a person is found to like, larger is better; only its order means anything


class AnswerBook(Protocol[T_contra]):
    """Where a host's study keeps what a person has said of its trials."""

    def numbers(self) -> Sequence[int]:
        """The trials of the rows of the host's history, in their order, as of its last call."""
        ...

    def number_of(self, ticket: T_contra) -> int:
        """The trial of a ticket of the host's.

        Args:
            ticket: of a candidate that the host was asked for.
        """
        ...

    def read(self) -> Any:
        """What `write` wrote last, None before that."""
        ...

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep a JSON-able record in place of what was kept before.

        Args:
            record: a JSON-able mapping.
        """
        ...


@dataclass(frozen=True)
class Page:
    """What a person looks at.

    Args:
        number: how many pages were answered before it.
        mode: how one answers.
        trials: the items.
        favourite: the one among them that is shown again.
        kept: trials that were put aside to keep.
    """

    number: int
    mode: Mode
    trials: tuple[int, ...]
    favourite: int | None
    kept: tuple[int, ...]


def person(*metrics: Metric, score: Score | None = None) -> Objective:
    """The objective of a search by choices: the metric `LIKING`, which no function scores, among what keeps bounds.

    Args:
        *metrics: measured beside it, each with a bound or tracked.
        score: measures them, as `Objective` has it.

    Raises:
        ArgumentError: a metric to optimise or one called `LIKING`, or metrics without a score.
    """
    if not metrics and score is None:
        return recorded_objective([[LIKING, "maximize", None]])
    wrong = [metric.name for metric in metrics if metric.goal in ("maximize", "minimize") or metric.name == LIKING]
    if wrong or not metrics or score is None:
        raise ArgumentError(
            f"metrics: expected a score, and metrics that it measures, each with a bound or tracked, as {LIKING!r} is "
            f"maximised; got {wrong or [metric.name for metric in metrics]}{'' if score else ' without a score'}."
        )
    return Objective(Metric(LIKING, "maximize"), *metrics, score=_Beside(score, tuple(m.name for m in metrics)))


@dataclass(frozen=True)
class _Beside:
    """A score with a column for what a person likes, which is filled in when they have answered.

    Args:
        score: measures the others.
        names: of the others.
    """

    score: Score
    names: tuple[str, ...]

    def __call__(self, outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        returned = self.score(outputs, conditions)
        if not isinstance(returned, Mapping):
            if len(self.names) > 1:
                raise ScoreError(
                    f"score: expected a mapping of the metrics {list(self.names)}, got {type(returned).__name__}."
                )
            returned = {self.names[0]: returned}
        return {**returned, LIKING: np.zeros(len(conditions))}
