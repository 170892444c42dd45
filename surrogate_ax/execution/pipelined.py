"""Scores a batch while the next one is generated.

    submit 0   generate 0
    submit 1   generate 1 | score 0
    collect               | (waits for the rest of it)      -> 0
    submit 2   generate 2 | score 1

One batch at most stays behind, whatever takes how long: batch i is told after batch i + 1 was asked and before batch
i + 2 is, so the same seeds give the same search. Of m batches in a round of scores as slow as generation, m + 1 steps
remain of 2m: the last of a round is scored before the next round is planned.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from surrogate_ax.execution.executor import Candidate, Completed, latents_of
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.bank import Bank
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator


class Pipelined:
    """Generates where it is called, and scores in a thread of its own, one batch after the other.

    Threads share Python's interpreter: a score in pure Python gains nothing unless it runs in a process of its own, as
    a `SubprocessScore` does. Torch, NumPy, a GPU, other programs and the network do not hold the interpreter.

    Args:
        evaluator: generator, objective and fault policy. Its score is called in the thread, its generator is not.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._candidates: deque[Sequence[Candidate[Any]]] = deque()  # submitted, not collected
        self._generated: queue.SimpleQueue[tuple[Generated, Sequence[Condition]] | None] = queue.SimpleQueue()
        self._scored: queue.SimpleQueue[Evaluations | BaseException] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, candidates: Sequence[Candidate[Any]], bank: Bank) -> None:
        """Generate n candidates, and let them be scored once those before them are; arguments as in `Executor`."""
        conditions = [candidate.condition for candidate in candidates]
        generated = self._evaluator.generate(latents_of(candidates, bank, self._evaluator.generator), conditions)
        if self._thread is None:  # a daemon: a score that hangs must not keep the interpreter from ending
            self._thread = threading.Thread(target=self._score, name="scores", daemon=True)
            self._thread.start()
        self._candidates.append(candidates)
        self._generated.put((generated, conditions))

    def collect(self, *, wait: bool) -> Sequence[Completed]:
        """The oldest batch, waited for; nothing while there is only one and more may be submitted.

        Args:
            wait: nothing more is submitted before this returns.

        Raises:
            ScoreError: the score returned something undeclared; whatever the evaluator lets through.
        """
        if len(self._candidates) <= (0 if wait else 1):
            return []
        scored = self._scored.get()
        if isinstance(scored, BaseException):
            raise scored
        return [(self._candidates.popleft(), scored)]

    def close(self) -> None:
        """Score nothing more. A score that is being computed cannot be broken off: what comes of it is dropped."""
        self._closed = True
        self._generated.put(None)

    def _score(self) -> None:
        try:
            while (made := self._generated.get()) is not None and not self._closed:
                self._scored.put(self._evaluator.score(*made))
        except BaseException as error:  # noqa: BLE001  raised again by `collect`, where the loop sees it
            self._scored.put(error)
