"""What outputs are judged by: declared metrics and one score function.

A metric is maximised, minimised, bounded (`at_most`, `at_least`: a constraint) or only tracked. An objective knows no
generator; it checks what the score returns once, for every host.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.checks import number, show, text
from surrogate_ax.errors import ArgumentError, MismatchError, ScoreError, UnsupportedError

Goal = Literal["maximize", "minimize", "at_most", "at_least", "track"]
Score = Callable[[Any, Sequence[Mapping[str, Any]]], Any]


@dataclass(frozen=True)
class Metric:
    """One declared number.

    Args:
        name: what it is called in studies and tables.
        goal: "maximize", "minimize", "at_most", "at_least" or "track".
        bound: the limit of "at_most" and "at_least"; left out otherwise.
        noise: standard deviation of the score of one and the same output, as of people or simulators; "unknown" where
            it varies, and nobody knows how much. A planned search then explores and chooses by what it expects.

    Raises:
        ArgumentError: an unknown goal, a bound that is missing or out of place, or noise that is no deviation.
    """

    name: str
    goal: Goal = "maximize"
    bound: float | None = None
    noise: float | Literal["unknown"] | None = None

    def __post_init__(self) -> None:
        text(self.name, "Metric: name")
        if not self.name or self.goal not in get_args(Goal):
            raise ArgumentError(
                f"Metric: expected a name and a goal of {get_args(Goal)}, got {self.name!r}, {self.goal!r}."
            )
        bounded = self.goal in ("at_most", "at_least")
        bound = None if self.bound is None else number(self.bound, f"Metric {self.name!r}: bound", finite=False)
        if bounded != (bound is not None) or (bound is not None and not math.isfinite(bound)):
            raise ArgumentError(
                f"Metric {self.name!r}: expected a finite bound with at_most and at_least and none otherwise, "
                f"got goal={self.goal!r}, bound={self.bound}."
            )
        if self.noise not in (None, "unknown") and number(self.noise, f"Metric {self.name!r}: noise") <= 0:
            raise ArgumentError(
                f"Metric {self.name!r}: expected noise, a standard deviation above 0, 'unknown', or None of a score "
                f"that is always the same, got {self.noise}."
            )


@dataclass(frozen=True, init=False)
class Objective:
    """Declared metrics and the score that measures them.

    Args:
        *metrics: at least one to maximise or minimise; names distinct.
        score: `score(outputs, conditions)` of n outputs: a sequence of n numbers when there is one metric, else a
            mapping from every metric's name to n numbers.

    Raises:
        ArgumentError: no metric to optimise, copies, or a score that is not callable with two arguments.
    """

    metrics: tuple[Metric, ...]
    score: Score

    def __init__(self, *metrics: Metric, score: Score) -> None:
        names = [metric.name for metric in metrics]
        if len(set(names)) != len(names):
            raise ArgumentError(f"metrics: expected distinct names, got {names}.")
        if not any(metric.goal in ("maximize", "minimize") for metric in metrics):
            raise ArgumentError(f"metrics: expected at least one to maximize or minimize, got {names}.")
        if not callable(score):
            raise ArgumentError(f"score: expected a function of (outputs, conditions), got {type(score).__name__}.")
        _check_arguments(score)
        object.__setattr__(self, "metrics", metrics)
        object.__setattr__(self, "score", score)

    @property
    def optimised(self) -> tuple[Metric, ...]:
        """The metrics to maximise or minimise, in order."""
        return tuple(metric for metric in self.metrics if metric.goal in ("maximize", "minimize"))

    @property
    def bounded(self) -> tuple[Metric, ...]:
        """The metrics with a bound, in order."""
        return tuple(metric for metric in self.metrics if metric.bound is not None)

    def describe(self) -> list[list[Any]]:
        """Name, goal, bound and noise of every metric, JSON-able: what a study records to refuse another objective."""
        known = [[metric.name, metric.goal, metric.bound, metric.noise] for metric in self.metrics]
        return [each[:3] if each[3] is None else each for each in known]

    def measure(self, outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Score n outputs and check what came back.

        Args:
            outputs: n outputs.
            conditions: their n conditions.

        Returns:
            float64 values (n,) of every declared metric; NaN and infinity are passed on for the evaluator to fail.

        Raises:
            ScoreError: a missing or undeclared metric, another length than n, or values that are not numbers.
        """
        process, n = os.getpid(), len(conditions)
        returned = self.score(outputs, conditions)
        if os.getpid() != process:  # a copy of the process, which the score has forked and returned in
            os._exit(1)  # it must not go on with a search that is not its own
        if not isinstance(returned, Mapping):
            if len(self.metrics) > 1:
                raise ScoreError(
                    f"score: expected a mapping of the metrics {self._names()}, got {type(returned).__name__}."
                )
            returned = {self.metrics[0].name: returned}
        if set(returned) != set(self._names()):
            given = show(sorted(map(str, returned)))
            raise ScoreError(f"score: expected exactly the declared metrics {self._names()}, got {given}.")
        return {name: _column(name, returned[name], n) for name in self._names()}

    def violation(self, values: Mapping[str, Array]) -> Array:
        """How far the bounds are overstepped, summed over metrics (n,); 0 is feasible.

        Args:
            values: (n,) for each metric, by name.
        """
        n = len(next(iter(values.values())))
        total = np.zeros(n)
        for metric in self.bounded:
            excess = values[metric.name] - metric.bound
            total += np.maximum(excess if metric.goal == "at_most" else -excess, 0)
        return total

    def losses(self, values: Mapping[str, Array]) -> Array:
        """The optimised metrics as losses (n, m): maximised ones negated.

        Args:
            values: (n,) for each metric, by name.
        """
        return np.stack([values[m.name] * (-1 if m.goal == "maximize" else 1) for m in self.optimised], axis=1)

    def rank(self, values: Mapping[str, Array]) -> Array:
        """Item numbers, best first.

        The feasible come before the others, which stand by violation; within, by non-domination, then by the sum of
        ranks over metrics. Items with a value that is not finite come last.

        Args:
            values: (n,) of every metric.
        """
        violation, losses = self.violation(values), self.losses(values)
        finite = np.isfinite(losses).all(axis=1) & np.isfinite(violation)
        front = np.zeros(len(losses))
        if losses.shape[1] > 1:
            for group in (finite & (violation == 0), finite & (violation > 0)):
                front[group] = _fronts(losses[group])
        standing = losses.argsort(axis=0, kind="stable").argsort(axis=0).sum(axis=1)
        return np.lexsort((standing, front, np.where(finite, violation, np.inf), ~finite))

    def _names(self) -> list[str]:
        return [metric.name for metric in self.metrics]


def recorded_objective(described: Any) -> Objective:
    """The objective that a study has recorded: it ranks what was scored, and scores nothing new.

    Args:
        described: what `Objective.describe` gave.

    Raises:
        MismatchError: something else.
    """
    try:
        if not all(isinstance(each, list | tuple) for each in (described, *described)):
            raise TypeError("a text is a sequence too")
        return Objective(*(Metric(*metric) for metric in described), score=_no_score)
    except (TypeError, ArgumentError) as error:
        raise MismatchError(f"metrics: the study's record of them was altered; it is {show(described)}.") from error


def _check_arguments(score: Score) -> None:
    """Refuse a score that cannot be called with outputs and conditions, before anything is made for it.

    Raises:
        ArgumentError: with the arguments that it takes.
    """
    try:
        takes = inspect.signature(score)
    except (TypeError, ValueError):  # one written in C may not say; then the call does
        return
    try:
        takes.bind(None, None)
    except TypeError as error:
        name = getattr(score, "__name__", type(score).__name__)
        raise ArgumentError(
            f"score: expected score(outputs, conditions), n outputs and their n call arguments, got {name}{takes}. "
            "Take the second argument also where it is of no use."
        ) from error


def _no_score(*_: Any) -> NoReturn:
    raise UnsupportedError("objective: read back from a study, so it ranks what was scored and scores nothing new.")


def _column(name: str, values: Any, n: int) -> Array:
    try:
        column = np.asarray(_numbers(values), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises the last, as for a tensor without contents
        raise ScoreError(
            f"score: expected n = {n} numbers for {name!r}, got {type(values).__name__} ({error})."
        ) from error
    if column.shape != (n,):
        raise ScoreError(f"score: expected shape (n,) = ({n},) for {name!r}, one value an output, got {column.shape}.")
    return column


def _numbers(values: Any) -> Any:
    """Tensors, alone or in a list, as arrays: whatever their device and precision, and without their gradients."""
    if isinstance(values, list | tuple):
        return [_numbers(value) for value in values]
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else values


def _fronts(losses: Array) -> Array:
    """Number of the non-dominated front of each row, 0 for the first."""
    better = (losses[:, None] <= losses[None]).all(axis=2) & (losses[:, None] < losses[None]).any(axis=2)
    front, left, number = np.zeros(len(losses)), np.ones(len(losses), dtype=bool), 0
    while left.any():
        current = left & ~(better & left[:, None]).any(axis=0)
        front[current], number = number, number + 1
        left &= ~current
    return front
