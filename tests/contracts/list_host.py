"""The smallest host that keeps the whole contract: a list in memory, which several workers may share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np

from surrogate_ax import Objective, Recipe
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import History, Proposal, Round
from surrogate_ax.scoring.evaluator import Evaluations


@dataclass
class Row:
    """A trial; `state` goes from "running" to "ended", "gone" (given back) or "lost" (its worker died)."""

    recipe: Recipe
    params: Mapping[str, Any]
    round: int
    proposal: int | None
    owner: ListHost
    state: str = "running"
    values: dict[str, float] = field(default_factory=dict)
    estimates: dict[str, float] = field(default_factory=dict)
    passed: dict[int, float] = field(default_factory=dict)
    picture: bytes | None = None


@dataclass
class ListStudy:
    """What the hosts of one study share."""

    objective: Objective
    conditions: Mapping[str, Range | Choice]
    generator: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    dead: list[ListHost] = field(default_factory=list)
    axes: int | None = None
    lock: AbstractContextManager[Any] = field(default_factory=RLock)


class ListHost:
    """Uniform points; estimates of the first metric below 0 are stopped; `stored` is called with every picture."""

    def __init__(self, study: ListStudy, *, rng: int = 0, stored: Callable[[], None] | None = None) -> None:
        self.study, self.rng, self.stored = study, rng, stored

    def history(self) -> History:
        return read(self.study, [row.round for row in self.study.rows if self._is_of_another(row)])

    def ask(self, n: int, round: Round) -> list[Candidate[int]]:
        self._check_axes(round)
        asked = list[Candidate[int]]()
        with self.study.lock:
            while len(asked) < n and (candidate := self._next(round, n)) is not None:
                asked.append(candidate)
        return asked

    def _next(self, round: Round, n: int) -> Candidate[int] | None:
        rows = self.study.rows
        for i, row in enumerate(rows):
            if row.state == "lost":
                row.state, row.owner = "running", self
                return self._candidate(i)
        if sum(row.round == round.number and row.state in ("running", "ended") for row in rows) >= round.size:
            return None
        taken = {row.proposal for row in rows if row.round == round.number and row.state != "gone"}
        waiting = [i for i in range(len(round.proposals)) if i not in taken]
        self._make(round, waiting[0] if waiting else None, n)
        return self._candidate(len(rows) - 1)

    def _make(self, round: Round, number: int | None, n: int) -> None:
        rng = np.random.default_rng([self.rng, len(self.study.rows)])
        conditions = {name: _drawn(searched, rng) for name, searched in self.study.conditions.items()}
        params = {f"u{k}": float(rng.uniform()) for k in range(round.space.axes - 1)} | conditions
        proposal = None if number is None else round.proposals[number]
        params |= {} if proposal is None else proposal.condition
        recipe = Recipe(self._terms(round, params, proposal), _some(params, conditions), self.study.generator, n)
        self.study.rows.append(Row(recipe, params, round.number, number, self))

    def _terms(self, round: Round, params: Mapping[str, Any], proposal: Proposal | None) -> Terms:
        draw = Draw(draw_entropy(self.rng, "trials"), len(self.study.rows))
        return round.point(params, draw) if proposal is None else proposal.terms

    def _candidate(self, i: int) -> Candidate[int]:
        row = self.study.rows[i]
        return Candidate(i, row.recipe.terms, row.recipe.condition, row.round)

    def _check_axes(self, round: Round) -> None:
        self.study.axes = self.study.axes or round.space.axes
        if round.space.axes != self.study.axes:
            raise MismatchError(f"policy: the study has K = {self.study.axes} axes, got K = {round.space.axes}.")

    def _is_of_another(self, row: Row) -> bool:
        return row.state == "running" and row.owner is not self

    def _is_own(self, row: Row) -> bool:
        return row.state == "running" and row.owner is self

    def report_estimates(self, candidates: Sequence[Candidate[int]], step: int, values: Mapping[str, Any]) -> None:
        if len(self.study.objective.optimised) == 1:
            for candidate, value in zip(candidates, values[self.study.objective.optimised[0].name], strict=True):
                self.study.rows[candidate.ticket].passed[step] = float(value)

    def should_stop(self, candidates: Sequence[Candidate[int]]) -> np.ndarray:
        passed = [self.study.rows[candidate.ticket].passed for candidate in candidates]
        return np.array([estimates[max(estimates)] < 0 for estimates in passed])

    def tell(self, candidates: Sequence[Candidate[int]], evaluations: Evaluations) -> None:
        for i, candidate in enumerate(candidates):
            row = self.study.rows[candidate.ticket]
            if self._is_own(row):
                self._show(row, evaluations, i)
                self._end(row, evaluations, i)
                self.study.ended.append(candidate.ticket)

    def _show(self, row: Row, evaluations: Evaluations, i: int) -> None:
        if self.stored is not None and evaluations.status[i] != "failed":
            row.picture = np.asarray(evaluations.outputs[i]).tobytes()
            self.stored()

    def _end(self, row: Row, evaluations: Evaluations, i: int) -> None:
        found = {name: float(column[i]) for name, column in evaluations.values.items()}
        row.state, nothing = "ended", dict.fromkeys(found, np.nan)
        row.values = found if evaluations.status[i] == "done" else nothing
        row.estimates = found if evaluations.status[i] == "stopped" else nothing

    def give_back(self, candidates: Sequence[Candidate[int]]) -> None:
        for candidate in candidates:
            row = self.study.rows[candidate.ticket]
            if self._is_own(row):
                row.state = "gone"

    def reclaim(self) -> int:
        dead = [
            row for row in self.study.rows if row.state == "running" and any(row.owner is d for d in self.study.dead)
        ]
        for row in dead:
            row.state, row.passed = "lost", {}
        return len(dead)


def read(study: ListStudy, running: Sequence[int] = ()) -> History:
    """The history of a study."""
    rows = [study.rows[i] for i in study.ended]
    names = [metric.name for metric in study.objective.metrics]
    values, estimates = (
        {name: np.array([found[name] for found in table], dtype=np.float64) for name in names}
        for table in ([row.values for row in rows], [row.estimates for row in rows])
    )
    stopped = any(np.isfinite(column).any() for column in estimates.values())
    steps = sorted({step for row in rows for step in row.passed})
    return History(
        study.objective,
        [row.recipe.terms for row in rows],
        values,
        np.array([row.round for row in rows], dtype=np.int64),
        running,
        estimates=estimates if stopped else {},
        checkpoint_estimates={step: np.array([row.passed.get(step, np.nan) for row in rows]) for step in steps},
        conditions=[row.recipe.condition for row in rows] if study.conditions else (),
    )


def _some(params: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in names}


def _drawn(searched: Range | Choice, rng: np.random.Generator) -> Any:
    if isinstance(searched, Choice):
        return searched.values[int(rng.integers(len(searched.values)))]
    if searched.integer:
        return int(rng.integers(int(searched.low), int(searched.high) + 1))
    if searched.step is not None:
        steps = round((searched.high - searched.low) / searched.step)
        return searched.low + searched.step * int(rng.integers(steps + 1))
    return float(np.exp(rng.uniform(np.log(searched.low), np.log(searched.high))))
