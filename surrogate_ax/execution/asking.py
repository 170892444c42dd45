"""What a search by choices is made of: pages, ways of answering, the metric, and a place for what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from surrogate_ax.scoring.objective import Objective, recorded_objective

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


def person() -> Objective:
    """The objective of a search by choices: the metric `LIKING`, which no function scores."""
    return recorded_objective([[LIKING, "maximize", None]])
