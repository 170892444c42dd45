"""Batches that failed as a whole, kept back until it is known whose fault that is.

Where nothing else succeeds either, the search is given up: the fault is the generator's or the score's, and once it is
mended the same points are to be tried again. They are given back then, and use up no budget. Otherwise they are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from surrogate_ax.errors import GenerationError
from surrogate_ax.execution.executor import Completed
from surrogate_ax.scoring.traces import origin

AFTER_SUCCESS = 4  # a generator that fails for most latents is searched all the same


class FailureStreak:
    """The trials that have failed since the last success.

    Args:
        patience: at so many of them in a row the run is given up, and at `AFTER_SUCCESS` times as many once one has
            succeeded and where nothing was raised, as by outputs or scores that are not finite.
    """

    def __init__(self, patience: int) -> None:
        self._patience, self._succeeded = patience, False
        self._kept: list[Completed] = []
        self._reasons: list[tuple[str, str]] = []  # and the traceback

    def release(self, completed: Sequence[Completed], *, all: bool) -> Iterator[Completed]:
        """The batches to tell now.

        Args:
            completed: batches that have ended since.
            all: whether to keep nothing back, since the search needs them to go on.

        Raises:
            GenerationError: as many as `patience` have failed; the first reason is given, and its traceback as cause.
        """
        for batch in completed:
            _, evaluations = batch
            self._kept.append(batch)
            if len(evaluations.reasons) < len(evaluations.status):
                self._reasons, self._succeeded = [], True
                yield from self._let_go()
                continue
            traces = evaluations.traces
            self._reasons += [(reason, traces.get(i, "")) for i, reason in sorted(evaluations.reasons.items())]
            own_fault = self._succeeded and not any(trace for _, trace in self._reasons)
            if len(self._reasons) >= self._patience * (AFTER_SUCCESS if own_fault else 1):
                raise self._given_up()
        if all:
            yield from self._let_go()

    def _let_go(self) -> list[Completed]:
        kept, self._kept = self._kept, []
        return kept

    def _given_up(self) -> GenerationError:
        reason, trace = self._reasons[0]
        where = f" ({place})" if (place := origin(trace)) else ""
        error = GenerationError(f"the last {len(self._reasons)} trials all failed; the first reason: {reason}{where}")
        error.__cause__ = RuntimeError(trace) if trace else None
        return error
