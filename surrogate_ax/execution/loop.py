"""The one loop: ask a host, make latents, evaluate, tell.

    told -> policy -> turn -> host.ask -> latents -> line (evaluator, checkpoints) -> host.tell

A host adapts an optimiser with five methods. Everything that the loop needs to go on after a crash is what the host
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

import numpy as np

from surrogate_ax.errors import GenerationError, check_counts
from surrogate_ax.execution.executor import Candidate, Executor, Synchronous
from surrogate_ax.latents.priors import Latents
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator

Array = np.ndarray
T = TypeVar("T")
_logger = logging.getLogger(__name__)
PATIENCE = 8  # at least this many failures in a row, or all trials, before the run is given up
POLL = 1.0  # seconds between looks when other workers hold the rest of a round


class Host(Protocol[T]):
    """An optimiser, adapted."""

    def history(self) -> History:
        """Every ended trial, and the rounds of those that others run; the caller knows its own."""
        ...

    def ask(self, n: int, round: Round) -> Sequence[Candidate[T]]:
        """At most n candidates, none where other workers hold all that is left; exact rows of the turn first.

        Recipes are recorded before it returns.
        """
        ...

    def report_estimates(self, cs: Sequence[Candidate[T]], step: int, values: Mapping[str, Array]) -> None:
        """Record estimated values (n,) of candidates at a checkpoint."""
        ...

    def should_stop(self, cs: Sequence[Candidate[T]]) -> Array:
        """Which candidates (n,) to stop, by what was noted of them and others."""
        ...

    def tell(self, cs: Sequence[Candidate[T]], ev: Evaluations) -> None:
        """Record evaluations, previews first. Telling what was told already changes nothing."""
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


def run(
    host: Host[Any],
    policy: Policy,
    evaluator: Evaluator,
    *,
    total_trials: int,
    batch_size: int,
    rng: int,
    timeout: float | None = None,
    callbacks: Sequence[Callable[[Batch], bool | None]] = (),
    executor: Executor | None = None,
) -> None:
    """Ask, evaluate and tell until the study has `total_trials` ended trials.

    Args:
        host: the optimiser.
        policy: where to search next.
        evaluator: generator, objective and fault policy.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        batch_size: items of one generator call, at most.
        rng: seed of the policy.
        timeout: seconds after which no further batch is begun; what was begun is finished.
        callbacks: called after every batch that has ended; one that returns True ends the run.
        executor: from candidates to evaluations, `EarlyStopping` for one; a batch is evaluated at once if left out.

    Raises:
        ArgumentError: a count below 1.
        GenerationError: everything fails; the first reason is given.
        KeyboardInterrupt: passed on after the running trials were given back.
    """
    check_counts(total_trials=total_trials, batch_size=batch_size)
    executor = Synchronous(evaluator) if executor is None else executor
    patience = min(max(PATIENCE, batch_size), total_trials)
    host.reclaim()
    end, failures = time.monotonic() + (math.inf if timeout is None else timeout), list[str]()
    round: Round | None = None
    pending: list[Candidate[Any]] = []  # asked, not told
    stopping = False
    try:
        while not stopping or pending:
            history = _with_pending(host.history(), pending)
            ended, left = len(history.terms), total_trials - len(history.terms) - len(history.running)
            stopping = stopping or ended >= total_trials or time.monotonic() >= end
            if not stopping and (round is None or history.ended(round.number) >= round.size):
                round = policy(history, left, rng)
                stopping = round is None
            wanted = 0 if stopping or round is None else min(batch_size, left, history.open(round))
            asked = host.ask(wanted, round) if round is not None and wanted >= 1 else []
            if round is not None and asked:
                pending = [*pending, *asked]
                executor.submit(asked, _latents(asked, round))
            elif not pending and not stopping:  # other workers hold what is left of the round
                time.sleep(POLL)
                host.reclaim()
            for candidates, evaluations in executor.collect(wait=not asked) if pending else []:
                host.tell(candidates, evaluations)
                pending = [candidate for candidate in pending if not any(candidate is other for other in candidates)]
                ended += len(candidates)
                failures = _failures_in_a_row(failures, evaluations, patience)
                batch = Batch(candidates, evaluations, ended, total_trials)
                answers = [callback(batch) for callback in callbacks]  # every one is called, also after a True
                stopping = stopping or any(answers)
    except BaseException:  # whatever breaks in, from outside too
        _give_back(host, pending, evaluator)
        raise
    finally:
        executor.close()


def _give_back(host: Host[Any], pending: Sequence[Candidate[Any]], evaluator: Evaluator) -> None:
    """Tell a host that trials were broken off; what broke them off is the error to show, not one that this meets."""
    try:
        host.tell(pending, evaluator.interrupted([candidate.condition for candidate in pending]))
    except Exception as error:  # noqa: BLE001  such as the full disk that ended the run
        _logger.warning("%d trials could not be given back: %s. The next run takes them back.", len(pending), error)


def _with_pending(history: History, pending: Sequence[Candidate[Any]]) -> History:
    """What was told, with this run's own trials among the running."""
    return dataclasses.replace(history, running=[*history.running, *(candidate.round for candidate in pending)])


def _latents(candidates: Sequence[Candidate[Any]], round: Round) -> Latents:
    """Named parts (n, *shape) of candidates' terms."""
    bank = round.space.bank.extend([seed for candidate in candidates for seed, _ in candidate.terms])
    return bank.latents(bank.rows(candidate.terms for candidate in candidates))


def _failures_in_a_row(before: list[str], evaluations: Evaluations, patience: int) -> list[str]:
    """The reasons of failures since the last success; at `patience` of them the run is given up."""
    reasons = [evaluations.reasons[i] for i in sorted(evaluations.reasons)]
    failures = before + reasons if len(reasons) == len(evaluations.status) else []
    if len(failures) >= patience:
        raise GenerationError(f"the last {len(failures)} trials all failed; the first reason: {failures[0]}")
    return failures
