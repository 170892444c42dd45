"""Outputs made in a thread of their own, so that a person looks at one page while the next one is made.

What is wanted now is made first; when nothing is, what may be wanted next. Outputs are known by the point that they
were made from, so that one made ahead of time is found when its trial is asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.execution.asking import LIKING
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.finite import NOT_FINITE, not_finite
from surrogate_ax.generation.scored import bare
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Seed, Terms
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Objective

KEPT = 96  # outputs in memory
DIGITS = 9  # of coefficients, by which points are the same


@dataclass(frozen=True)
class Point:
    """What an output is made from.

    Args:
        terms: its coefficient row.
        condition: its call arguments.
    """

    terms: Terms
    condition: Condition

    @property
    def key(self) -> tuple[frozenset[tuple[Seed, float]], str]:
        """What equal points have in common, whatever wrote them."""
        return frozenset((seed, round(c, DIGITS)) for seed, c in self.terms), repr(sorted(self.condition.items()))


@dataclass(frozen=True)
class Made:
    """What came of a point.

    Args:
        output: None where it failed.
        nfe: network function evaluations.
        seconds: its share of the call.
        batch: items of the call.
        reason: why it failed.
        values: of the metrics that are measured beside a person's liking.
    """

    output: Any
    nfe: float
    seconds: float
    batch: int
    reason: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)


def judged(
    told: Mapping[int, Made],
    liking: Mapping[int, float],
    objective: Objective,
    fingerprint: Mapping[str, str],
    rate: float | None,
) -> Evaluations:
    """What came of trials, as a host is told it.

    Args:
        told: by trial.
        liking: how each is liked; those that failed have none.
        objective: of `person`.
        fingerprint: of the generator.
        rate: samples or frames a second of its outputs.
    """
    made = list(told.values())
    values = [{**each.values, LIKING: liking.get(trial, np.nan)} for trial, each in told.items()]
    return Evaluations(
        outputs=[each.output for each in made],
        values={metric.name: np.array([each[metric.name] for each in values]) for metric in objective.metrics},
        nfe=np.array([each.nfe for each in made]),
        seconds=np.array([each.seconds for each in made]),
        status=["done" if each.reason is None else "failed" for each in made],
        reasons={i: each.reason for i, each in enumerate(made) if each.reason is not None},
        step=np.full(len(made), -1),
        conditions=[{}] * len(made),
        generator=fingerprint,
        objective=objective,
        rate=rate,
    )


class Maker:
    """Makes outputs one batch after the other, in a thread of its own.

    Args:
        evaluator: whose generator makes them.
        bank: of any seeds; those that points name are added.
        batch_size: items of one call, at most.
    """

    def __init__(self, evaluator: Evaluator, bank: Bank, *, batch_size: int = 8) -> None:
        self._evaluator, self._bank, self._batch_size = evaluator, bank, batch_size
        self._made: OrderedDict[Any, Made] = OrderedDict()
        self._wanted: list[Point] = []
        self._later: list[Point] = []
        self._ahead: Callable[[], Sequence[Point]] = tuple
        self._changed, self._stopped = threading.Condition(), False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="maker", daemon=True)
        self._thread.start()

    def want(self, points: Sequence[Point], *, ahead: Callable[[], Sequence[Point]] = tuple) -> None:
        """Make points next, in place of what was wanted before.

        Args:
            points: in order.
            ahead: called in the thread when all of them are made, again and again until it has nothing more: points
                that may be wanted next.
        """
        with self._changed:
            self._wanted, self._later, self._ahead = list(points), [], ahead
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what ended the thread: what the generator raised for everything, or what was to be made ahead."""
        if self._error is not None:
            raise self._error

    def find(self, point: Point) -> Made | None:
        """What came of a point, None while it is not made."""
        with self._changed:
            return self._found(point)

    def wait(self, point: Point, timeout: float | None = None) -> Made | None:
        """What came of a point, once it is made; None after so many seconds.

        Raises:
            Exception: what the generator raised for everything.
        """
        with self._changed:
            if self._found(point) is None and all(point.key != other.key for other in self._wanted):
                self._wanted.append(point)
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped or self._error or self._found(point) is not None, timeout)
            self.check()
            return self._found(point)

    def stop(self) -> None:
        """End the thread, once the batch that it makes is made."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _found(self, point: Point) -> Made | None:
        made = self._made.get(point.key)
        if made is not None:
            self._made.move_to_end(point.key)
        return made

    def _run(self) -> None:
        try:
            while (points := self._next()) is not None:
                made = self._make(points)
                with self._changed:
                    self._made.update(made)
                    while len(self._made) > KEPT:
                        self._made.popitem(last=False)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  raised where the outputs are waited for
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> list[Point] | None:
        """The next batch; None at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._batch() or self._ahead is not tuple)
                if self._stopped:
                    return None
                if batch := self._batch():
                    return batch
                ahead = self._ahead
            further = ahead()  # takes a while, and others may look and want in the meantime
            with self._changed:
                if ahead is self._ahead:
                    self._later, self._ahead = list(further), ahead if further else tuple

    def _batch(self) -> list[Point]:
        for points, size in ((self._wanted, self._batch_size), (self._later, max(1, self._batch_size // 2))):
            missing = {point.key: point for point in points if point.key not in self._made}
            if missing:  # what may be wanted is made in halves, so that what is wanted waits less
                return list(missing.values())[:size]
        return []

    def _make(self, points: Sequence[Point]) -> Mapping[Any, Made]:
        n, conditions = len(points), [point.condition for point in points]
        latents = self._bank.latents_of([point.terms for point in points])
        generated = self._evaluator.generate(latents, conditions)
        outputs, failed = list(bare(generated.outputs)), dict(generated.failed)
        there = [i for i in range(n) if i not in failed]
        failed |= {there[k]: NOT_FINITE for k in not_finite(outputs)}
        by_item = dict(zip(there, outputs, strict=True))
        measured: Mapping[str, Array] = {}
        if len(self._evaluator.objective.metrics) > 1:
            scored = self._evaluator.score(generated, conditions)
            failed |= dict(scored.reasons)
            measured = {name: column for name, column in scored.values.items() if name != LIKING}
        return {
            point.key: Made(
                None if i in failed else by_item[i],
                float(generated.nfe[i]),
                generated.seconds / n,
                n,
                failed.get(i),
                {name: float(column[i]) for name, column in measured.items()},
            )
            for i, point in enumerate(points)
        }
