"""The one loop: ask a host for candidates, evaluate them, tell the host.

    history, pending -> Proposer -> round -> Host.ask -> candidates -> Executor -> evaluations -> Host.tell

A host adapts an optimiser with seven methods. Everything that the loop needs to go on after a crash is what the host
has written: recipes inside `ask`, values inside `tell`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from surrogate_ax.arrays import Array
from surrogate_ax.errors import check_counts
from surrogate_ax.execution.executor import Candidate, Executor
from surrogate_ax.execution.stops import check_stop
from surrogate_ax.execution.streak import FailureStreak
from surrogate_ax.policies.history import History, Proposal, Round
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.scoring.evaluator import Evaluations

T = TypeVar("T")
_logger = logging.getLogger(__name__)
INTERRUPTED = "interrupted"  # the reason of a trial that was given back
PATIENCE = 8  # at least this many failures in a row, or all trials, before the run is given up
POLL = 0.05, 1.0  # seconds between looks when other workers hold what is left, at first and at most


class Host(Protocol[T]):
    """An optimiser, adapted. `tests/contracts/host_contract.py` checks what is promised here."""

    def history(self) -> History:
        """Every ended trial, and the rounds of those that others run; the caller knows its own."""
        ...

    def ask(self, n: int, round: Round) -> Sequence[Candidate[T]]:
        """At most n candidates; none where other workers hold all that is left of the round.

        Trials of dead workers come first, as they were; then proposals of the round that nobody has taken, hidden from
        the optimiser's model; then points of its box that the optimiser chooses. Recipes are recorded before it
        returns.

        Args:
            n: most candidates wanted.
            round: the round in play.
        """
        ...

    def report_estimates(self, candidates: Sequence[Candidate[T]], step: int, values: Mapping[str, Array]) -> None:
        """Record estimated values (n,) of n candidates after `step` steps.

        Args:
            candidates: n that are running.
            step: after which the estimates were made.
            values: (n,) for each metric, by name.
        """
        ...

    def should_stop(self, candidates: Sequence[Candidate[T]]) -> Array:
        """Which candidates (n,) to stop, by the estimates of them and others.

        Args:
            candidates: n that are running.
        """
        ...

    def tell(self, candidates: Sequence[Candidate[T]], evaluations: Evaluations) -> None:
        """Record evaluations, previews first. Telling what was told already changes nothing.

        Args:
            candidates: n that were asked for.
            evaluations: of the n, in the same order.
        """
        ...

    def give_back(self, candidates: Sequence[Candidate[T]]) -> None:
        """Candidates whose evaluation was broken off: they are as if never asked, and their places are free.

        Args:
            candidates: that were asked for and not told.
        """
        ...

    def reclaim(self) -> int:
        """Take back trials of dead workers, to be run again; how many."""
        ...


@dataclass(frozen=True)
class Batch:
    """What callbacks are given after every batch.

    Args:
        candidates: what was asked.
        evaluations: what came of it.
        ended: trials of the study that have ended.
        total: trials wanted.
    """

    candidates: Sequence[Candidate[Any]]
    evaluations: Evaluations
    ended: int
    total: int


Callback = Callable[[Batch], bool | None]


def run(
    host: Host[Any],
    proposer: Proposer,
    executor: Executor,
    *,
    batch_size: int,
    timeout: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Ask, evaluate and tell until the study has as many ended trials as the proposer wants.

    Args:
        host: the optimiser.
        proposer: where to search next, and how far.
        executor: from candidates to evaluations.
        batch_size: items of one generator call, at most.
        timeout: seconds after which no further batch is begun; what was begun is finished.
        callbacks: called after every batch that has ended; one that returns True ends the run.

    Raises:
        ArgumentError: a count below 1.
        GenerationError: everything fails; the first reason is given.
        KeyboardInterrupt: passed on after the running trials were given back.
    """
    total = proposer.total_trials
    check_counts(total_trials=total, batch_size=batch_size)
    patience = min(max(PATIENCE, batch_size), total)
    host.reclaim()
    end, streak = time.monotonic() + (math.inf if timeout is None else timeout), FailureStreak(patience)
    round: Round | None = None
    pending: list[Candidate[Any]] = []  # asked, not told
    stopping, patient, workers = False, POLL[0], 1
    try:
        while not stopping or pending:
            check_stop()
            history = _with_pending(host.history(), pending, batch_size)
            ended = len(history.terms)
            stopping = stopping or ended >= total or time.monotonic() >= end
            if not stopping:
                round = proposer.round(history, round if history.sharing.workers == workers else None)
                workers = history.sharing.workers
                stopping = round is None
            wanted = 0 if stopping or round is None else min(batch_size, proposer.open(history, round))
            asked = host.ask(wanted, round) if round is not None and wanted >= 1 else []
            if round is not None and asked:
                pending, patient = [*pending, *asked], POLL[0]
                check_stop()
                executor.submit(asked, round.space.bank)
            elif not pending and not stopping:  # other workers hold what is left of the round
                time.sleep(patient)
                patient = min(2 * patient, POLL[1])
                host.reclaim()
            completed = executor.collect(wait=not asked) if pending else []
            for candidates, evaluations in streak.release(completed, all=not asked):
                host.tell(candidates, evaluations)
                pending = [candidate for candidate in pending if not any(candidate is other for other in candidates)]
                ended += len(candidates)
                batch = Batch(candidates, evaluations, ended, total)
                answers = [callback(batch) for callback in callbacks]  # every one is called, also after a True
                stopping = stopping or any(answers)
    except BaseException:  # whatever breaks in, from outside too
        _give_back(host, pending)
        raise
    finally:
        executor.close()


def _give_back(host: Host[Any], pending: Sequence[Candidate[Any]]) -> None:
    """Give trials back that were broken off; what broke them off is the error to show, not one that this meets."""
    try:
        host.give_back(pending)
    except Exception as error:  # noqa: BLE001  such as the full disk that ended the run
        _logger.warning("%d trials could not be given back: %s. The next run takes them back.", len(pending), error)


def _with_pending(history: History, pending: Sequence[Candidate[Any]], batch_size: int) -> History:
    """The history, with this run's own trials among the running."""
    return dataclasses.replace(
        history,
        running=[*history.running, *(candidate.round for candidate in pending)],
        pending=[*history.pending, *(Proposal(candidate.terms, candidate.condition) for candidate in pending)],
        sharing=dataclasses.replace(history.sharing, batch=batch_size),
    )
