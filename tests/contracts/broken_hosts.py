"""Hosts that break one promise each, which the contract has to notice."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.policies.history import History, Proposal, Round
from surrogate_ax.scoring.evaluator import Evaluations
from tests.contracts.list_host import ListHost, Row


class Unrecorded(ListHost):
    """Records a recipe when a trial is told, and leaves it empty until then."""

    def _candidate(self, i: int) -> Candidate[int]:
        candidate, row = super()._candidate(i), self.study.rows[i]
        row.recipe = dataclasses.replace(row.recipe, terms=())
        return candidate


class Unnormalised(ListHost):
    """Doubles coefficients."""

    def _terms(self, *arguments: Any) -> Terms:
        return tuple((seed, 2 * coefficient) for seed, coefficient in super()._terms(*arguments))


class Elsewhere(ListHost):
    """Evaluates another point than it records."""

    def _terms(self, round: Round, params: Mapping[str, Any], proposal: Proposal | None) -> Terms:
        return super()._terms(round, {**params, "u0": 0.5}, proposal)


class Textual(ListHost):
    """Keeps whole numbers as floats, as JSON of other languages does."""

    def _candidate(self, i: int) -> Candidate[int]:
        candidate = super()._candidate(i)
        return dataclasses.replace(
            candidate, condition={**candidate.condition, "steps": float(candidate.condition["steps"])}
        )


class Repeating(ListHost):
    """Asks the first proposal again and again."""

    def _make(self, round: Round, number: int | None, n: int) -> None:
        super()._make(round, 0 if round.proposals else None, n)


class Late(ListHost):
    """Begins with a point of its own."""

    def _make(self, round: Round, number: int | None, n: int) -> None:
        super()._make(round, number if self.study.rows else None, n)


class Confused(ListHost):
    """Takes proposals of another round for those of this one."""

    def _make(self, round: Round, number: int | None, n: int) -> None:
        taken = {row.proposal for row in self.study.rows}
        super()._make(round, None if number in taken else number, n)


class Deaf(ListHost):
    """Passes over the conditions of proposals."""

    def _make(self, round: Round, number: int | None, n: int) -> None:
        bare = [proposal._replace(condition={}) for proposal in round.proposals]
        super()._make(dataclasses.replace(round, proposals=bare), number, n)


class Redrawing(ListHost):
    """Numbers its draws by the batch."""

    def _terms(self, round: Round, params: Mapping[str, Any], proposal: Proposal | None) -> Terms:
        held = sum(map(self._is_own, self.study.rows))
        return round.point(params, Draw(self.rng, held)) if proposal is None else proposal.terms


class Unseeded(ListHost):
    """Draws from nothing that is given."""

    def _terms(self, round: Round, params: Mapping[str, Any], proposal: Proposal | None) -> Terms:
        return round.point(params, Draw(int(np.random.default_rng().integers(2**40)), 0))


class Numbered(ListHost):
    """Sorts what has ended by its number."""

    def history(self) -> History:
        self.study.ended.sort()
        return super().history()


class Narrow(ListHost):
    """Keeps nothing of metrics that are neither optimised nor bounded."""

    def _end(self, row: Row, evaluations: Evaluations, i: int) -> None:
        super()._end(row, evaluations, i)
        row.values["length"] = np.nan


class Hopeful(ListHost):
    """Keeps what a failed item has of values."""

    def _end(self, row: Row, evaluations: Evaluations, i: int) -> None:
        super()._end(row, evaluations, i)
        if evaluations.status[i] == "failed":
            row.values = {name: float(column[i]) for name, column in evaluations.values.items()}


class Forgiving(ListHost):
    """Does not count failed items."""

    def tell(self, candidates: Sequence[Candidate[int]], evaluations: Evaluations) -> None:
        super().tell(candidates, evaluations)
        failed = [candidates[i].ticket for i in evaluations.reasons]
        self.study.ended = [number for number in self.study.ended if number not in failed]


class Hasty(ListHost):
    """Takes estimates of what was stopped for results."""

    def _end(self, row: Row, evaluations: Evaluations, i: int) -> None:
        super()._end(row, evaluations, i)
        if evaluations.status[i] == "stopped":
            row.values = row.estimates


class Forgetful(ListHost):
    """Keeps estimates of what was stopped only."""

    def _end(self, row: Row, evaluations: Evaluations, i: int) -> None:
        super()._end(row, evaluations, i)
        row.passed = row.passed if evaluations.status[i] == "stopped" else {}


class Undecided(ListHost):
    """Answers for the whole batch."""

    def should_stop(self, candidates: Sequence[Candidate[int]]) -> np.ndarray:
        return np.array([super().should_stop(candidates).any()])


class Private(ListHost):
    """Reads other values than it records."""

    def history(self) -> History:
        found = super().history()
        return dataclasses.replace(found, values={name: 2 * column for name, column in found.values.items()})


class Rewriting(ListHost):
    """Takes the last word for the right one."""

    def tell(self, candidates: Sequence[Candidate[int]], evaluations: Evaluations) -> None:
        super().tell(candidates, evaluations)
        for i, candidate in enumerate(candidates):
            self._end(self.study.rows[candidate.ticket], evaluations, i)


class Holding(ListHost):
    """Counts what is given back as failed."""

    def give_back(self, candidates: Sequence[Candidate[int]]) -> None:
        for candidate in candidates:
            if self._is_own(self.study.rows[candidate.ticket]):
                self.study.rows[candidate.ticket].state = "ended"


class Reviving(ListHost):
    """Takes a late result of what was given back."""

    def _is_own(self, row: Row) -> bool:
        return row.owner is self and row.state in ("running", "gone")


class Careless(ListHost):
    """Leaves what dead workers ran where it is."""

    def reclaim(self) -> int:
        return 0


class Inventive(ListHost):
    """Asks something else in place of what a dead worker ran."""

    def reclaim(self) -> int:
        taken = super().reclaim()
        for row in self.study.rows:
            row.state = "gone" if row.state == "lost" else row.state
        return taken


class Growing(ListHost):
    """Takes boxes of any number of axes."""

    def _check_axes(self, round: Round) -> None:
        pass


class Flattening(ListHost):
    """Takes stored seeds for draws."""

    def _terms(self, *arguments: Any) -> Terms:
        terms = super()._terms(*arguments)
        return tuple((seed if isinstance(seed, Draw) else Draw(0, m), c) for m, (seed, c) in enumerate(terms))


class Selfish(ListHost):
    """Counts its own trials among those of others, or everybody's as its own."""

    def _is_of_another(self, row: Row) -> bool:
        return row.state == "running"


class Blind(ListHost):
    """Sees nothing of other workers."""

    def _is_of_another(self, row: Row) -> bool:
        return False


class Greedy(ListHost):
    """Asks for as many as it is told to, whoever holds the places."""

    def _next(self, round: Round, n: int) -> Candidate[int] | None:
        return super()._next(dataclasses.replace(round, size=10**6), n)


class Racing(ListHost):
    """Looks what is left, and then takes it, without a lock between workers."""

    def _make(self, round: Round, number: int | None, n: int) -> None:
        time.sleep(0.01)
        super()._make(round, number, n)

    def ask(self, n: int, round: Round) -> list[Candidate[int]]:
        self.study.lock = contextlib.nullcontext()
        return super().ask(n, round)


class Grasping(ListHost):
    """Takes candidates of the living too."""

    def reclaim(self) -> int:
        self.study.dead.extend(row.owner for row in self.study.rows)
        return super().reclaim()


class Stubborn(ListHost):
    """Tells what others have taken over."""

    def _is_own(self, row: Row) -> bool:
        return row.state in ("running", "lost")


class Slow(ListHost):
    """Shows a picture when its value is told already."""

    def tell(self, candidates: Sequence[Candidate[int]], evaluations: Evaluations) -> None:
        stored, self.stored = self.stored, None
        super().tell(candidates, evaluations)
        self.stored = stored
        for i, candidate in enumerate(candidates):
            self._show(self.study.rows[candidate.ticket], evaluations, i)


class Showing(ListHost):
    """Shows failed items too."""

    def _show(self, row: Row, evaluations: Evaluations, i: int) -> None:
        row.picture = b""
        super()._show(row, evaluations, i)


class Bare(ListHost):
    """Has no columns before anything was told."""

    def history(self) -> History:
        found = super().history()
        return found if found.terms else dataclasses.replace(found, values={})


class Estimating(ListHost):
    """Keeps estimates of one of several metrics."""

    def report_estimates(self, candidates: Sequence[Candidate[int]], step: int, values: Mapping[str, Any]) -> None:
        for i, candidate in enumerate(candidates):
            self.study.rows[candidate.ticket].passed[step] = float(values["score"][i])


class Once(ListHost):
    """Takes a candidate over once; if that worker dies too, it is gone."""

    def ask(self, n: int, round: Round) -> list[Candidate[int]]:
        lost = [row for row in self.study.rows if row.state == "lost"]
        asked = super().ask(n, round)
        for row in lost:
            row.owner = ListHost(self.study)
        return asked
