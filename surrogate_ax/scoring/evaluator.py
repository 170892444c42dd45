"""Latents and conditions to scores: one generator call and one score call a batch, and a policy for faults.

An item that fails fails alone: a batch that raises is halved until the items at fault stand alone, and one whose score
runs out of time is tried again item by item. An item whose output is not finite has failed. Running out of memory
halves the batch too, and the size that fitted is remembered. n items; values by metric (n,); NFE and seconds by item
(n,).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import (
    ArgumentError,
    MismatchError,
    MissingExtraError,
    ScoreError,
    UnsupportedError,
)
from surrogate_ax.generation.checks import check_generated, check_generator
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.finite import NOT_FINITE, copied, not_finite
from surrogate_ax.generation.protocols import Generated, Generator, Outputs, Timed
from surrogate_ax.generation.row_check import RowCheck
from surrogate_ax.generation.scored import bare, values_of
from surrogate_ax.latents.deferred import checked, count_of, rows_of
from surrogate_ax.latents.priors import Latents
from surrogate_ax.markup import card, one_line
from surrogate_ax.media.thumbnails import thumbnails
from surrogate_ax.scoring.objective import Objective
from surrogate_ax.scoring.traces import trace_of

Status = Literal["done", "stopped", "failed"]
TRACES = 64  # that are kept
_logger = logging.getLogger(__name__)
_OURS = (ArgumentError, ScoreError, MismatchError, UnsupportedError, MissingExtraError)  # never a single item's fault


@dataclass(frozen=True)
class Evaluations:
    """n evaluated items, in columns.

    Args:
        outputs: n outputs, None where an item failed before it had one.
        values: (n,) of every metric, NaN where there is none.
        nfe: (n,) network function evaluations spent.
        seconds: (n,) wall time, each item's share of its batch.
        status: "done", "stopped" at a checkpoint, or "failed".
        reasons: why, by item number, for items that failed.
        step: (n,) sampler step at which a row was stopped, -1 for a whole trajectory.
        conditions: n mappings of call arguments, as evaluated.
        generator: fingerprint of what made them, by named part.
        objective: what they were judged by.
        rate: samples or frames a second of outputs that are sound or clips.
        traces: tracebacks by item number, for items that failed by an error.
    """

    outputs: Outputs
    values: Mapping[str, Array]
    nfe: Array
    seconds: Array
    status: Sequence[Status]
    reasons: Mapping[int, str]
    step: Array
    conditions: Sequence[Condition]
    generator: Mapping[str, str]
    objective: Objective
    rate: float | None = None
    traces: Mapping[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return one_line("Evaluations", self._counts(), *self._ranges())

    def _repr_html_(self) -> str:
        facts = {"items": self._counts(), "values": ", ".join(self._ranges()), "cost": f"{self.nfe.sum():,.0f} NFE"}
        facts |= {"first failure": next(iter(self.reasons.values()), "")}
        captions = [
            self.reasons.get(i) or ", ".join(f"{name} {column[i]:.4g}" for name, column in self.values.items())
            for i in range(len(self.status))
        ]
        return card("Evaluations", facts, thumbnails(list(self.outputs), captions))

    def _counts(self) -> str:
        counts = [(state, self.status.count(state)) for state in get_args(Status)]
        return ", ".join(f"{count} {state}" for state, count in counts if count) or "none"

    def _ranges(self) -> list[str]:
        known = {name: column[np.isfinite(column)] for name, column in self.values.items()}
        return [f"{name} {x.min():.4g} to {x.max():.4g}" for name, x in known.items() if x.size]


class Evaluator:
    """A generator, an objective and a policy for faults.

    Args:
        generator: makes the outputs.
        objective: judges them.
        catch: exceptions of generator and score that fail single items; `()` lets them through. Errors of this package
            (wrong shapes, undeclared metrics) always come through: they are not the item's fault.

    Raises:
        ArgumentError: not a generator, one that has only some of what its protocols ask for, or not an objective.
    """

    def __init__(
        self, generator: Generator, objective: Objective, *, catch: tuple[type[Exception], ...] = (Exception,)
    ) -> None:
        check_generator(generator)
        if not isinstance(objective, Objective):
            raise ArgumentError(f"objective: expected an Objective, got {type(objective).__name__}.")
        self.generator = generator
        self._made_by = dict(generator.fingerprint)  # read once a run: it may cost a look at every layer
        self.objective = objective
        self._rate = generator.rate if isinstance(generator, Timed) else None
        self.catch = catch
        self.max_batch_size: int | None = None  # the largest batch known to fit in memory, once one did not
        self._fitted: int | None = None  # the same before the present call
        self.row_check = RowCheck(generator)
        self._traces: dict[str, str] = {}  # by reason, of the last errors

    def __call__(self, z: Latents, conditions: Sequence[Condition] | None = None) -> Evaluations:
        """Generate and score n items.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings of call arguments; none if left out.

        Raises:
            ShapeError: wrong latents, not n conditions, or a generator that returned another number of outputs.
            ScoreError: the score returned something undeclared.
        """
        generated = self.generate(z, conditions)
        return self.score(generated, [{}] * len(generated.nfe) if conditions is None else list(conditions))

    def generate(self, z: Latents, conditions: Sequence[Condition] | None = None) -> Generated:
        """Generate n items, to be judged later.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings of call arguments; none if left out.

        Raises:
            ShapeError: wrong latents, not n conditions, or a generator that returned another number of outputs.
        """
        parts = checked(z, self.generator.prior)
        n = count_of(parts)
        conditions = [{}] * n if conditions is None else list(conditions)
        check_conditions(parts, conditions)
        self._fitted = self.max_batch_size
        return self._generate(parts, conditions) if n else Generated([], np.zeros(0), 0.0)

    def score(self, generated: Generated, conditions: Sequence[Condition]) -> Evaluations:
        """Score what was generated for n items.

        Args:
            generated: outputs, costs and failures of n items.
            conditions: n mappings of call arguments.

        Raises:
            ShapeError: not the outputs and costs of n items.
            ScoreError: the score returned something undeclared.
        """
        n = len(conditions)
        generated = check_generated(generated, n)
        reasons = dict(generated.failed)
        made = [i for i in range(n) if i not in reasons]
        outputs = bare(generated.outputs)
        reasons |= {made[k]: NOT_FINITE for k in not_finite(outputs)}
        values = {metric.name: np.full(n, np.nan) for metric in self.objective.metrics}
        at = [k for k, i in enumerate(made) if i not in reasons]
        judged = [made[k] for k in at]
        if judged:
            chosen = generated.outputs if len(at) == len(made) else _at(generated.outputs, at)
            there = values_of(chosen, list(values)) if isinstance(chosen, list) else None
            scored, unscored = there or self._score(chosen, [conditions[i] for i in judged])
            for name, column in scored.items():
                values[name][judged] = column
            reasons |= {judged[i]: reason for i, reason in unscored.items()}
        for i in judged:
            wrong = [name for name, column in values.items() if i not in reasons and not np.isfinite(column[i])]
            if wrong:
                reasons[i] = "score returned " + ", ".join(f"{name} = {values[name][i]}" for name in wrong)
        status: list[Status] = ["failed" if i in reasons else "done" for i in range(n)]
        outputs = outputs if len(made) == n else _spread(outputs, made, n)
        seconds = np.full(n, generated.seconds / max(n, 1))
        steps = np.full(n, -1)
        return Evaluations(
            outputs,
            values,
            generated.nfe,
            seconds,
            status,
            reasons,
            steps,
            conditions,
            self._made_by,
            self.objective,
            self._rate,
            {i: self._traces[reason] for i, reason in reasons.items() if reason in self._traces},
        )

    def _generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """One call, or halves of it where a call does not fit in memory or raises."""
        n = len(conditions)
        if n > (self.max_batch_size or n):
            return self._parts(z, conditions, self.max_batch_size or n)
        try:
            return self._call(z, conditions)
        except Exception as error:
            if not self.tolerates(error, n):
                raise
            if n == 1:
                return Generated([], np.zeros(1), 0.0, {0: self.failure(error)})
        return self._parts(z, conditions, (n + 1) // 2)

    def tolerates(self, error: Exception, n: int) -> bool:
        """Whether an error in generating n items fails the only item, or has several tried in halves.

        Memory that ran out is remembered in `max_batch_size`, the largest batch known to have room.

        Args:
            error: what the generator has raised.
            n: items of the call.
        """
        memory = out_of_memory(error)
        if isinstance(error, _OURS) or (not isinstance(error, self.catch) and (n == 1 or not memory)):
            return False
        if memory:  # an item too large by itself says nothing about batches of others
            self.max_batch_size = (n + 1) // 2 if n > 1 else self._fitted
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return True

    def failure(self, error: Exception) -> str:
        """Why an item failed, in a line; the traceback is kept for `Evaluations.traces`.

        Args:
            error: what was raised for the item.
        """
        reason, trace = f"{type(error).__name__}: {error}", trace_of(error)
        level = logging.INFO if self._traces else logging.WARNING  # the first is shown, the others go to logs
        self._traces = {**dict(list(self._traces.items())[1 - TRACES :]), reason: trace}
        _logger.log(level, "An output failed: %s", reason, exc_info=error)
        return reason

    def _call(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """One call of the generator, its columns counted."""
        made = check_generated(self.generator.generate(z, conditions), len(conditions))
        self.row_check.batch(z, conditions, made)
        return made

    def _parts(self, z: Latents, conditions: Sequence[Condition], size: int) -> Generated:
        n = len(conditions)
        slices = [slice(k, min(k + size, n)) for k in range(0, n, size)]
        made = [self._generate(rows_of(z, range(n)[rows]), conditions[rows]) for rows in slices]
        failed = {rows.start + i: why for rows, g in zip(slices, made, strict=True) for i, why in g.failed.items()}
        nfe = np.concatenate([g.nfe for g in made])
        return Generated(_join([g.outputs for g in made]), nfe, sum(g.seconds for g in made), failed)

    def _score(self, outputs: Outputs, conditions: Sequence[Condition]) -> tuple[dict[str, Array], dict[int, str]]:
        """Values by metric, NaN at items whose score raises, and the reasons."""
        try:
            # Copies: what a score writes into them is neither shown nor scored again.
            return self.objective.measure(copied(outputs), [copied(dict(condition)) for condition in conditions]), {}
        except _OURS:
            raise
        except self.catch as error:
            n = len(conditions)
            if n == 1:
                return {metric.name: np.full(1, np.nan) for metric in self.objective.metrics}, {0: self.failure(error)}
            # What ran out of time may do so again in every half that it is in; alone it does so once more only.
            size = 1 if isinstance(error, TimeoutError) else (n + 1) // 2
        starts = range(0, n, size)
        parts = [self._score(outputs[k : k + size], conditions[k : k + size]) for k in starts]
        values = {name: np.concatenate([scored[name] for scored, _ in parts]) for name in parts[0][0]}
        return values, {k + i: why for k, (_, failed) in zip(starts, parts, strict=True) for i, why in failed.items()}


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on whatever device.

    Args:
        error: what a generator has raised.
    """
    words = ("out of memory", "can't allocate memory")  # other devices and the CPU raise a bare RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def _at(outputs: Outputs, at: Sequence[int]) -> Outputs:
    return outputs[list(at)] if isinstance(outputs, torch.Tensor | np.ndarray) else [outputs[k] for k in at]


def _spread(outputs: Outputs, made: Sequence[int], n: int) -> list[Any]:
    spread: list[Any] = [None] * n
    for i, output in zip(made, outputs, strict=True):
        spread[i] = output
    return spread


def _join(outputs: Sequence[Outputs]) -> Outputs:
    """Outputs of several calls as those of one, in the kind that they came in."""
    present = [part for part in outputs if len(part)]
    if present and all(isinstance(part, torch.Tensor) for part in present):
        return torch.cat([part for part in present if isinstance(part, torch.Tensor)])
    if present and all(isinstance(part, np.ndarray) for part in present):
        return np.concatenate([part for part in present if isinstance(part, np.ndarray)])
    return [output for part in present for output in part]
