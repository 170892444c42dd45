"""A bar with rate, best value and time left."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from surrogate_ax.errors import MissingExtraError
from surrogate_ax.execution.loop import Batch
from surrogate_ax.execution.records import SearchStatus
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.objective import Objective


class ProgressBar:
    """Callback of the loop that shows how far a study is.

    Args:
        objective: its first optimised metric is shown, best feasible value so far.
        history: what the study holds already.
        total: trials wanted.
        status: what the study holds, said above the bar when that is anything.
        notes: said above the bar as well.

    Raises:
        MissingExtraError: tqdm is not installed.
    """

    def __init__(
        self,
        objective: Objective,
        history: History,
        total: int,
        status: SearchStatus | None = None,
        *,
        notes: Sequence[str] = (),
    ) -> None:
        self._objective = objective
        self._metric = objective.optimised[0]
        self._best: list[float] = []  # at most one
        tqdm = _tqdm()
        if status:
            tqdm.write(f"The study goes on: {status}.", file=sys.stderr)
        for note in notes:
            tqdm.write(note, file=sys.stderr)
        self._bar = tqdm(total=total, initial=len(history.terms), unit="trial", smoothing=0.1)
        self._note(history.values)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, batch: Batch) -> None:
        """Advance by a batch."""
        done = np.array([status == "done" for status in batch.evaluations.status], dtype=bool)
        self._note({name: column[done] for name, column in batch.evaluations.values.items()})
        self._bar.update(batch.ended - self._bar.n)

    def _note(self, values: Mapping[str, np.ndarray]) -> None:
        measured = np.all([np.isfinite(column) for column in values.values()], axis=0)  # else the item has failed
        feasible = values[self._metric.name][measured & (self._objective.violation(values) == 0)]
        known = [*feasible.tolist(), *self._best]
        if known:
            self._best = [max(known) if self._metric.goal == "maximize" else min(known)]
            self._bar.set_postfix({f"best {self._metric.name}": f"{self._best[0]:.4g}"}, refresh=False)


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError(
            "A progress bar needs tqdm: pip install 'surrogate-ax[optuna]' or tqdm. Or pass progress=False."
        ) from error
    return tqdm
