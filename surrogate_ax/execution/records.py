"""What a study holds, whichever host keeps it: its ended trials, the history that policies see, and how it stands.

A host reads its own trials as `EndedTrial`s; everything else about them is here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.checks import mapping, number, whole
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.recipe import VERSION as RECIPE_VERSION
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective


@dataclass(frozen=True)
class EndedTrial:
    """One ended trial.

    Args:
        number: the host's.
        recipe: what remakes its output.
        round: number of its round.
        result: what `result_record` wrote; empty for a trial that failed.
        checkpoint_estimates: estimate of the only optimised metric at each checkpoint, by its step.

    Raises:
        ArgumentError: values of other types, as a record has that was altered.
    """

    number: int
    recipe: Recipe
    round: int
    result: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_estimates: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"trial {self.number}, its record"
        whole(self.round, f"{where}: round")
        result = mapping(self.result, where)
        for name, value in mapping(result.get("values", {}), f"{where}: values").items():
            number(value, f"{where}: {name}", finite=False)
        for name in ("nfe", "seconds"):
            number(result.get(name, 0.0), f"{where}: {name}", finite=False)
        if "stopped" in result:
            whole(result["stopped"], f"{where}: stopped")
        for step, estimate in self.checkpoint_estimates.items():
            number(estimate, f"{where}: estimate after step {step}", finite=False)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped at a checkpoint."""
        return "stopped" in self.result

    def values(self, names: Sequence[str]) -> list[float]:
        """Values of metrics, NaN where it has none: an estimate at a checkpoint is no result.

        Args:
            names: of the metrics.
        """
        return [math.nan] * len(names) if self.stopped else self._recorded(names)

    def estimates(self, names: Sequence[str]) -> list[float]:
        """Values of metrics at the checkpoint where it was stopped, NaN if it was not.

        Args:
            names: of the metrics.
        """
        return self._recorded(names) if self.stopped else [math.nan] * len(names)

    @property
    def nfe(self) -> float:
        """Network function evaluations spent."""
        return float(self.result.get("nfe", 0.0))

    @property
    def seconds(self) -> float:
        """Of evaluation."""
        return float(self.result.get("seconds", 0.0))

    def _recorded(self, names: Sequence[str]) -> list[float]:
        values = self.result.get("values", {})
        return [float(values.get(name, math.nan)) for name in names]


@dataclass(frozen=True)
class TrialCopy:
    """An ended trial with what a copy of it elsewhere shows beside its record.

    Args:
        trial: as its host keeps it.
        params: its parameters: the point in the box, where it has one, and the searched conditions.
        reason: why it failed, None if it did not.
    """

    trial: EndedTrial
    params: Mapping[str, Any]
    reason: str | None = None


def result_record(evaluations: Evaluations, i: int) -> dict[str, Any]:
    """What a host records of item i, JSON-able: every metric, NFE, seconds, the step where it was stopped.

    Args:
        evaluations: of a batch; item i did not fail.
        i: its place there.
    """
    record: dict[str, Any] = {
        "values": {name: float(column[i]) for name, column in evaluations.values.items()},
        "nfe": float(evaluations.nfe[i]),
        "seconds": round(float(evaluations.seconds[i]), 6),
    }
    if evaluations.status[i] == "stopped":
        record["stopped"] = int(evaluations.step[i])
    return record


def keep_seeds(store: SeedStore | None, bank: Bank, *, advice: str) -> None:
    """Put the stored seeds of a bank where a study finds them again, before a trial names them.

    Args:
        store: of the study.
        bank: of a round.
        advice: how to give a store, where the study has none.

    Raises:
        ArgumentError: there are stored seeds, and no store.
        StorageError: a seed could not be written.
    """
    tensors = bank.tensors
    if not len(tensors):
        return
    if store is None:
        raise ArgumentError(f"seeds: this search has {len(tensors)} stored seeds and nowhere to keep them; {advice}.")
    store.add(tensors)


def refuse_old_seeds(trials: Sequence[EndedTrial]) -> None:
    """Refuse trials with stored seeds of an earlier version of recipes: their rows mean other latents by now.

    Raises:
        MismatchError: naming the first of them and its version; a report and `render` take them still.
    """
    for trial in trials:
        if trial.recipe.version != RECIPE_VERSION:
            raise MismatchError(
                f"study: trial {trial.number} holds stored seeds by version {trial.recipe.version} of recipes, whose "
                f"latents lost their radius; this release searches by version {RECIPE_VERSION}. `render` still remakes "
                "its output; begin a new study."
            )


class HistoryBuilder:
    """A history that grows with the trials that end: each is read once.

    Args:
        objective: ranks the trials.
        seeds: inner rows (D,) of stored seeds, by SHA-256.
    """

    def __init__(self, objective: Objective, seeds: Mapping[str, Tensor] | None = None) -> None:
        self._names = [metric.name for metric in objective.metrics]
        self._trials: list[EndedTrial] = []
        self._when: list[tuple[float, int]] = []
        empty = {name: np.zeros(0) for name in self._names}
        self._history = History(
            objective, [], empty, np.zeros(0, dtype=np.int64), tensors={} if seeds is None else seeds
        )

    @property
    def trials(self) -> Sequence[EndedTrial]:
        """All trials, in the order of ending."""
        return self._trials

    def extend(self, ended: Sequence[tuple[float, EndedTrial]]) -> None:
        """Add trials, each with the time at which it ended."""
        rows = sorted(((when, trial.number), trial) for when, trial in ended)
        if rows and self._when and rows[0][0] < self._when[-1]:  # ended earlier than what is known, and seen later
            rows = sorted([*zip(self._when, self._trials, strict=True), *rows], key=lambda row: row[0])
            self._trials, self._when = [], []
            self._history = self._history.rows(np.zeros(0, dtype=np.int64))
        self._append([trial for _, trial in rows])
        self._when += [when for when, _ in rows]

    def build(self, running: Sequence[int] = ()) -> History:
        """The history of all trials so far.

        Args:
            running: rounds of the trials that are being evaluated elsewhere.
        """
        return dataclasses.replace(self._history, running=running)

    def _append(self, trials: Sequence[EndedTrial]) -> None:
        if not trials:
            return
        self._trials = [*self._trials, *trials]
        h, names, n = self._history, self._names, len(trials)
        values = _columns(names, [trial.values(names) for trial in trials])
        estimates = _columns(names, [trial.estimates(names) for trial in trials])
        if h.estimates or any(trial.stopped for trial in trials):
            before = h.estimates or {name: np.full(len(h.terms), np.nan) for name in names}
            estimates = _joined(before, estimates)
        else:
            estimates = {}
        steps = sorted({*h.checkpoint_estimates, *(step for trial in trials for step in trial.checkpoint_estimates)})
        passed = {
            step: np.concatenate(
                [
                    h.checkpoint_estimates.get(step, np.full(len(h.terms), np.nan)),
                    np.array([trial.checkpoint_estimates.get(step, math.nan) for trial in trials]),
                ]
            )
            for step in steps
        }
        self._history = dataclasses.replace(
            h,
            terms=[*h.terms, *(trial.recipe.terms for trial in trials)],
            values=_joined(h.values, values),
            round=np.concatenate([h.round, np.fromiter((trial.round for trial in trials), np.int64, n)]),
            estimates=estimates,
            checkpoint_estimates=passed,
            conditions=_conditions(h, trials),
        )


def _conditions(history: History, trials: Sequence[EndedTrial]) -> Sequence[Mapping[str, Any]]:
    """Conditions of all trials, further ones behind those of a history; empty while none has any."""
    further = [trial.recipe.condition for trial in trials]
    if not history.conditions and not any(further):
        return ()
    return [*(history.conditions or [{}] * len(history.terms)), *further]


def _columns(names: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, Array]:
    return dict(zip(names, np.array(rows, dtype=np.float64).reshape(len(rows), len(names)).T, strict=True))


def _joined(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.concatenate([column, after[name]]) for name, column in before.items()}


@dataclass(frozen=True)
class SearchStatus:
    """How a study stands.

    Args:
        ended: trials that have ended, failed ones among them.
        failed: those that failed.
        again: trials of killed processes, which are run again.
        running: trials that other processes are running.
        waiting: trials whose outputs are made and wait for their scores.
    """

    ended: int
    failed: int
    again: int
    running: int
    waiting: int = 0

    def __bool__(self) -> bool:
        return bool(self.ended or self.again or self.running or self.waiting)

    def __str__(self) -> str:
        parts = [f"{self.ended} trials ended"]
        parts += [f"{self.failed} of them failed"] if self.failed else []
        parts += [f"{self.again} taken back from a killed process, to be run again"] if self.again else []
        parts += [f"{self.running} running in another process"] if self.running else []
        parts += [f"{self.waiting} waiting for their scores"] if self.waiting else []
        return ", ".join(parts)


@dataclass(frozen=True)
class SearchRecord:
    """What a study holds: n ended trials, in the order in which they ended.

    Args:
        trials: n.
        history: what policies see of them.
        status: how the study stands.
        batch_size: that was measured for it; None where none was.
    """

    trials: Sequence[EndedTrial]
    history: History
    status: SearchStatus
    batch_size: int | None = None

    @property
    def nfe(self) -> float:
        """Network function evaluations spent on all trials."""
        return sum(trial.nfe for trial in self.trials)

    @property
    def scored(self) -> int:
        """Trials with a finite value of every metric to optimise."""
        losses = self.history.objective.losses(self.history.values)
        return int(np.isfinite(losses).all(axis=1).sum())
