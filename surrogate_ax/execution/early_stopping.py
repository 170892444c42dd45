"""Early stopping at checkpoints: unpromising trajectories are stopped, and the survivors go on in full batches.

    start -> step s1 -> estimate x̂, score, stop some -> queue 1 -> step s2 -> ... -> queue m -> finish

Either a share of the rows goes on, the best by the objective's own order, or the host's pruner decides.
Rows of several batches wait in the queue behind a checkpoint until they fill a batch. A row that is stopped ends with
the estimate as its output, the estimate's score as its values and the NFE that it has spent.
Source: successive halving (arXiv 1502.07943) on the estimates x̂ = x - σ v of a flow.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.executor import Candidate, Completed, latents_of
from surrogate_ax.execution.loop import Host
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated, Generator, Scheduled, Steppable
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.deferred import rows_of
from surrogate_ax.policies.plan import survivors
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator

T = TypeVar("T")


@dataclass(frozen=True)
class _Rows:
    """n candidates at one step: row i of the generator's state is candidate i."""

    state: Any
    candidates: Sequence[Candidate[Any]]
    seconds: Array  # (n,) spent so far

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def conditions(self) -> list[Condition]:
        return [candidate.condition for candidate in self.candidates]

    def pick(self, kept: Sequence[int], state: Any) -> _Rows:
        return _Rows(state, [self.candidates[i] for i in kept], self.seconds[list(kept)])


class EarlyStopping:
    """Evaluates candidates step by step, and stops rows at checkpoints.

    Args:
        host: is given all estimates, and says which rows stop where there is no `keep_fraction`.
        evaluator: of a generator that can stop between steps.
        steps: the checkpoints, as numbers of steps done, increasing.
        batch_size: rows of one call, at most.
        merge: let survivors wait for those of later batches. Without it the survivors of a batch go on at once, in a
            smaller batch, as a sampler that works in generations needs.
        keep_fraction: share of the rows that goes on behind each checkpoint, at least one row.
        cohort_size: how many rows are compared for that, a batch if left out. They wait for each other at the
            checkpoint, though no longer than until nothing more is asked: with as many as a round has, it is a share of
            the round.

    Raises:
        UnsupportedError: the generator cannot stop between steps.
        ArgumentError: no steps, steps that do not increase between 1 and the last but one, or a share outside (0, 1].
    """

    def __init__(
        self,
        host: Host[Any],
        evaluator: Evaluator,
        steps: Sequence[int],
        *,
        batch_size: int,
        merge: bool = True,
        keep_fraction: float | None = None,
        cohort_size: int | None = None,
    ) -> None:
        self._generator: Steppable[Any] = check_checkpoints(evaluator.generator, steps, keep_fraction)
        self._host = host
        self._evaluator = evaluator
        self._steps = list(steps)
        self._batch_size = batch_size
        self._merge = merge
        self._keep_fraction = keep_fraction
        self._cohort_size = batch_size if cohort_size is None else cohort_size
        self._undecided: list[list[tuple[_Rows, Evaluations]]] = [[] for _ in steps]
        self._queues: list[list[_Rows]] = [[] for _ in steps]
        self._completed: list[Completed] = []

    def submit(self, candidates: Sequence[Candidate[Any]], bank: Bank) -> None:
        """Start n candidates and bring them through the first checkpoint; arguments as in `Executor`."""
        to, unstarted = (
            self._steps[0],
            _Rows(latents_of(candidates, bank, self._generator), candidates, np.zeros(len(candidates))),
        )
        self._evaluator.row_check.begin(candidates, unstarted.state)
        for rows, state in self._attempt(
            unstarted, _pick_latents, lambda rows: self._generator.advance(self._start(rows), to)
        ):
            self._check(dataclasses.replace(rows, state=state), 0)

    def collect(self, *, wait: bool) -> list[Completed]:
        """What has been completed since the last call.

        Args:
            wait: nothing more is submitted before this returns, so queues are emptied, in part-filled batches too.
        """
        least = 1 if wait or not self._merge else self._batch_size
        for level, queue in enumerate(self._queues, start=1):
            if wait or not self._merge or sum(len(rows) for rows, _ in self._undecided[level - 1]) >= self._cohort_size:
                self._decide(level - 1)
            while sum(map(len, queue)) >= least:
                rows = self._pop(queue)
                if level == len(self._steps):
                    self._finish(rows)
                else:
                    self._advance(rows, level)
        completed, self._completed = self._completed, []
        return completed

    def close(self) -> None:
        """Let go of all rows."""
        self._queues, self._completed = [[] for _ in self._steps], []
        self._undecided = [[] for _ in self._steps]

    def _start(self, rows: _Rows) -> Any:
        return self._generator.start(rows.state, rows.conditions)

    def _advance(self, rows: _Rows, level: int) -> None:
        """From one checkpoint to the next, number `level`."""
        to = self._steps[level]
        for part, state in self._attempt(rows, self._pick, lambda part: self._generator.advance(part.state, to)):
            self._check(dataclasses.replace(part, state=state), level)

    def _check(self, rows: _Rows, level: int) -> None:
        """Score estimates and let the host stop rows, or have them wait for others to be compared with."""
        for part, outputs in self._attempt(rows, self._pick, lambda part: self._generator.estimate(part.state)):
            step, nfe = self._steps[level], self._generator.nfe(part.state)
            without = {i: "no estimate" for i, output in enumerate(outputs) if output is None}
            made = [output for output in outputs if output is not None] if without else outputs
            judged = self._evaluator.score(Generated(made, nfe, 0.0, without), part.conditions)
            scored = _scored(judged)
            if len(scored):
                self._host.report_estimates([part.candidates[i] for i in scored], step, _of(judged.values, scored))
            if self._keep_fraction is not None:
                self._undecided[level].append((part, judged))
                continue
            stop = np.zeros(len(part), dtype=bool)
            if len(scored):
                stop[scored] = self._host.should_stop([part.candidates[i] for i in scored])
            self._part(part, judged, stop, level)

    def _decide(self, level: int) -> None:
        """Let the best share of the rows that wait at a checkpoint go on."""
        waiting, self._undecided[level] = self._undecided[level], []
        found = [_scored(judged) for _, judged in waiting]
        if self._keep_fraction is None or not sum(map(len, found)):
            for part, judged in waiting:
                self._part(part, judged, np.zeros(len(part), dtype=bool), level)
            return
        columns = [_of(judged.values, scored) for (_, judged), scored in zip(waiting, found, strict=True)]
        values = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
        losers = np.ones(sum(map(len, found)), dtype=bool)
        losers[self._evaluator.objective.rank(values)[: survivors(len(losers), self._keep_fraction)]] = False
        for (part, judged), scored in zip(waiting, found, strict=True):
            stop = np.zeros(len(part), dtype=bool)
            stop[scored], losers = losers[: len(scored)], losers[len(scored) :]
            self._part(part, judged, stop, level)

    def _part(self, rows: _Rows, judged: Evaluations, stop: Array, level: int) -> None:
        """End some rows with their estimates and queue up the others."""
        stopped, kept = np.flatnonzero(stop).tolist(), np.flatnonzero(~stop).tolist()
        if stopped:
            ended = _stopped(judged, stopped, rows, self._steps[level])
            self._completed.append(([rows.candidates[i] for i in stopped], ended))
        if kept:
            self._queues[level].append(self._pick(rows, kept))

    def _finish(self, rows: _Rows) -> None:
        for part, generated in self._attempt(rows, self._pick, lambda part: self._generator.finish(part.state)):
            self._evaluator.row_check.end(part.candidates, part.conditions, generated)
            judged = self._evaluator.score(generated, part.conditions)
            self._completed.append((part.candidates, dataclasses.replace(judged, seconds=part.seconds)))

    def _pop(self, queue: list[_Rows]) -> _Rows:
        """At most a batch of rows from the front of a queue."""
        taken: list[tuple[int, int]] = [(k, i) for k, rows in enumerate(queue) for i in range(len(rows))]
        taken = taken[: self._batch_size]
        last, used = taken[-1]
        states = queue[: last + 1]
        rest = self._pick(states[last], range(used + 1, len(states[last]))) if used + 1 < len(states[last]) else None
        queue[: last + 1] = [] if rest is None else [rest]
        if len(states) == 1 and rest is None:
            return states[0]
        return _Rows(
            self._generator.select([rows.state for rows in states], taken),
            [states[k].candidates[i] for k, i in taken],
            np.array([states[k].seconds[i] for k, i in taken]),
        )

    def _pick(self, rows: _Rows, kept: Sequence[int]) -> _Rows:
        if len(kept) == len(rows):
            return rows
        return rows.pick(kept, self._generator.select([rows.state], [(0, int(i)) for i in kept]))

    def _attempt(
        self, rows: _Rows, pick: Callable[[_Rows, Sequence[int]], _Rows], work: Callable[[_Rows], T]
    ) -> Iterator[tuple[_Rows, T]]:
        """Work on rows, or on halves of them where that raises; a row at which it raises alone has failed."""
        n = len(rows)
        if n <= (self._evaluator.max_batch_size or n):
            clock = time.perf_counter()
            try:
                result = work(rows)
            except Exception as error:
                if not self._evaluator.tolerates(error, n):
                    raise
                reason = self._evaluator.failure(error)
            else:
                seconds = rows.seconds + (time.perf_counter() - clock) / n
                yield dataclasses.replace(rows, seconds=seconds), result
                return
            if n == 1:
                nfe = np.zeros(1) if pick is _pick_latents else self._generator.nfe(rows.state)
                failed = self._evaluator.score(Generated([], nfe, 0.0, {0: reason}), rows.conditions)
                self._completed.append((rows.candidates, dataclasses.replace(failed, seconds=rows.seconds)))
                return
        for half in (range((n + 1) // 2), range((n + 1) // 2, n)):
            yield from self._attempt(pick(rows, half), pick, work)


def _scored(judged: Evaluations) -> Array:
    """Rows with values. An estimate that is missing or cannot be scored says nothing of the output: its row goes on."""
    return np.flatnonzero([status == "done" for status in judged.status])


def _of(values: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    return {name: column[rows] for name, column in values.items()}


def check_checkpoints(
    generator: Generator,
    steps: Sequence[int],
    keep_fraction: float | None = None,
    conditions: Iterable[str] = (),
) -> Steppable[Any]:
    """Refuse checkpoints that a generator cannot stop at.

    Args:
        generator: any.
        steps: the checkpoints, as numbers of steps done.
        keep_fraction: share that goes on.
        conditions: names of searched call arguments.

    Returns:
        The generator.

    Raises:
        UnsupportedError: it cannot stop between steps.
        ArgumentError: no steps, steps that do not increase between 1 and its last but one, a share outside (0, 1], or
            a searched argument that changes the steps.
    """
    if keep_fraction is not None and not 0 < keep_fraction <= 1:
        raise ArgumentError(
            f"keep_fraction: expected a share of each batch above 0 and at most 1, got {keep_fraction}."
        )
    if not isinstance(generator, Steppable):
        raise UnsupportedError(
            f"checkpoints: expected a generator that can stop between steps (Steppable), got "
            f"{type(generator).__name__}, which cannot. Leave checkpoints out."
        )
    if changing := changing_steps(generator, conditions):
        raise ArgumentError(
            f"checkpoints: {changing[0]} is searched and changes the steps, so rows cannot be stopped at the same one. "
            "Leave checkpoints out, or give it to the generator."
        )
    last = generator.steps - 1
    rising = [0, *steps, last + 1]
    if not steps or any(a >= b for a, b in pairwise(rising)):
        raise ArgumentError(
            f"checkpoints: expected increasing numbers of steps from 1 to {last}, as the generator takes {last + 1}, "
            f"got {tuple(steps)}."
        )
    return generator


def changing_steps(generator: Generator, conditions: Iterable[str]) -> list[str]:
    """Those of some call arguments that change a generator's steps."""
    known = generator.schedule_arguments if isinstance(generator, Scheduled) else frozenset()
    return [name for name in conditions if name in known]


def _pick_latents(rows: _Rows, kept: Sequence[int]) -> _Rows:
    return rows.pick(kept, rows_of(rows.state, kept))


def _stopped(judged: Evaluations, rows: Sequence[int], part: _Rows, step: int) -> Evaluations:
    """Judged estimates of some rows as what these end with."""
    return dataclasses.replace(
        judged,
        outputs=[judged.outputs[i] for i in rows],
        values={name: column[rows] for name, column in judged.values.items()},
        nfe=judged.nfe[rows],
        seconds=part.seconds[rows],
        status=["stopped"] * len(rows),
        reasons={},
        step=np.full(len(rows), step),
        conditions=[judged.conditions[i] for i in rows],
    )
