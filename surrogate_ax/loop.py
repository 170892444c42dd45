"""The one loop: ask a host, make latents, evaluate, tell.

    told -> policy -> turn -> host.ask -> latents -> evaluator -> host.tell

A host adapts an optimiser with five methods. Everything that the loop needs to go on after a crash is what the host
has written: recipes inside `ask`, values inside `tell`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from surrogate_ax.bank import Terms
from surrogate_ax.errors import ArgumentError, GenerationError
from surrogate_ax.evaluation import Evaluations, Evaluator
from surrogate_ax.generator import Condition
from surrogate_ax.policies import Policy, Told, Turn

Array = np.ndarray
T = TypeVar("T")
PATIENCE = 8  # at least this many failures in a row, or all trials, before the run is given up
POLL = 1.0  # seconds between looks when other workers hold the rest of a round


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """One proposed item.

    Args:
        ticket: what the host tells by: an Optuna trial, an Ax trial index.
        terms: its coefficient row, recorded inside `ask`; a reclaimed trial brings its own.
        condition: its searched call arguments.
        round: the turn's round.
    """

    ticket: T
    terms: Terms
    condition: Condition
    round: int


class Host(Protocol[T]):
    """An optimiser, adapted."""

    def told(self) -> Told:
        """Every ended trial, and the rounds of those running."""
        ...

    def ask(self, n: int, turn: Turn) -> Sequence[Candidate[T]]:
        """At most n candidates, at least one; exact rows of the turn first; recipes are recorded before it returns."""
        ...

    def should_stop(self, cs: Sequence[Candidate[T]], step: int, values: Mapping[str, Array]) -> Array:
        """Which candidates (n,) to stop at a checkpoint, given estimated values there."""
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
) -> None:
    """Ask, evaluate and tell until the study has `total_trials` ended trials.

    Args:
        host: the optimiser.
        policy: where to search next.
        evaluator: generator, objective and fault policy.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        batch_size: items of one generator call, at most.
        rng: seed of the policy.
        timeout: seconds after which no further batch is begun.
        callbacks: called after every batch; one that returns True ends the run.

    Raises:
        ArgumentError: a count below 1.
        GenerationError: everything fails; the first reason is given.
        KeyboardInterrupt: passed on after the running trials were given back.
    """
    check_counts(total_trials=total_trials, batch_size=batch_size)
    patience = min(max(PATIENCE, batch_size), total_trials)
    host.reclaim()
    clock, failures = time.monotonic(), list[str]()
    turn: Turn | None = None
    while timeout is None or time.monotonic() - clock < timeout:
        told = host.told()
        left = total_trials - len(told.terms) - len(told.running)
        if len(told.terms) >= total_trials:
            return
        if turn is None or told.ended(turn.round) >= turn.size:
            turn = policy(told, left, rng)
        if turn is None:
            return
        wanted = min(batch_size, left, told.open(turn))
        if wanted < 1:  # other workers hold what is left of the round
            time.sleep(POLL)
            host.reclaim()
            continue
        candidates = host.ask(wanted, turn)
        evaluations = _evaluate_and_tell(host, candidates, turn, evaluator)
        reasons = [evaluations.reasons[i] for i in sorted(evaluations.reasons)]
        failures = failures + reasons if len(reasons) == len(candidates) else []
        if len(failures) >= patience:
            raise GenerationError(f"the last {len(failures)} trials all failed; the first reason: {failures[0]}")
        batch = Batch(candidates, evaluations, len(told.terms) + len(candidates), total_trials)
        answers = [callback(batch) for callback in callbacks]  # every one is called, also after a True
        if any(answers):
            return


def check_counts(**counts: int) -> None:
    """Refuse counts below 1.

    Args:
        **counts: by the name of their argument.

    Raises:
        ArgumentError: a count below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise ArgumentError(f"{name}: expected at least 1, got {count}.")


def _evaluate_and_tell(
    host: Host[Any], candidates: Sequence[Candidate[Any]], turn: Turn, evaluator: Evaluator
) -> Evaluations:
    """Evaluate candidates and tell; whatever breaks in from outside first gives back those that are not told yet."""
    try:
        bank = turn.space.bank.extend([seed for candidate in candidates for seed, _ in candidate.terms])
        z = bank.latents(bank.rows(candidate.terms for candidate in candidates))
        evaluations = evaluator(z, [candidate.condition for candidate in candidates])
        host.tell(candidates, evaluations)
    except BaseException:
        host.tell(candidates, evaluator.interrupted([candidate.condition for candidate in candidates]))
        raise
    return evaluations
