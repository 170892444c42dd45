"""The batch size of a search, found by measuring: `batch_size="auto"`.

Plain draws are made in batches of 1, 2, 4, ..., until memory runs out or a larger batch gives less than a tenth more
outputs a second; the best is taken. Where times are noisy, or rows share a call only if enough of them have the same
conditions, two sizes in a row have to say so. No batch is larger than a round, so that is where it ends. The draws have
a key of their own: a search whose size was measured is the same as one that was given it. A study records the size, so
that whoever goes on with it, or works on it as well, takes it over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from surrogate_ax.checks import mapping, whole
from surrogate_ax.errors import MOST, ArgumentError, GenerationError, MismatchError, SurrogateError, check_counts
from surrogate_ax.execution.executor import Candidate, latents_of
from surrogate_ax.generation.conditions import Condition, Searched
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.plan import Plan
from surrogate_ax.scoring.evaluator import out_of_memory

AUTO = "auto"
BatchSize = int | Literal["auto"]
RECORDED = "batch_size"  # key of a study's record
LARGEST = 64  # size that is tried where no round is smaller
GAIN = 1.1  # times as many outputs a second that a larger batch has to give
QUICK = 1.0  # seconds; a size is called again until it has taken as long, and the best call counts
CALLS = 3  # of one size, at most


@dataclass(frozen=True)
class Timing:
    """How long batches of one size take.

    Args:
        size: outputs of a call.
        calls: how many were made.
        spent: seconds that they took together.
        seconds: of the quickest.
        memory: bytes that were allocated at most on a CUDA device; 0 elsewhere.
    """

    size: int
    calls: int
    spent: float
    seconds: float
    memory: int

    @property
    def rate(self) -> float:
        """Outputs a second."""
        return self.size / self.seconds


@dataclass(frozen=True)
class Measured:
    """A size that was found, and what finding it has cost.

    Args:
        size: that was found.
        timings: of every size that was tried and fitted.
    """

    size: int
    timings: Sequence[Timing]

    def __str__(self) -> str:
        outputs, calls = sum(t.size * t.calls for t in self.timings), sum(t.calls for t in self.timings)
        seconds = sum(t.spent for t in self.timings)
        rates = ", ".join(f"{t.rate:.3g} of {t.size}" for t in self.timings)
        return (
            f"batches of {self.size}: measured on {outputs} plain draws ({calls} calls, {seconds:.1f} s), which gave "
            f"these outputs a second in batches: {rates}"
        )


def check_batch_size(batch_size: object) -> None:
    """Refuse a batch size that is neither a count nor "auto".

    Raises:
        ArgumentError: something else.
    """
    if isinstance(batch_size, str):
        if batch_size != AUTO:
            raise ArgumentError(f'batch_size: expected a whole number or "auto", got {batch_size!r}.')
    else:
        check_counts(batch_size=batch_size)  # type: ignore[arg-type]  # it looks at the type


def largest(plan: Plan | None, total_trials: int) -> int:
    """The largest batch that a search has use for: a round's.

    Args:
        plan: of the search; None where a space or policy of one's own says what a round is.
        total_trials: wanted.
    """
    return min(total_trials, LARGEST if plan is None else plan.cohort_size)


def timings(
    generator: Generator,
    most: int,
    *,
    rng: int,
    conditions: Searched | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Timing]:
    """Times of batches of 1, 2, 4, ... plain draws, up to `most` or to where memory runs out.

    Args:
        generator: makes the outputs.
        most: items of the largest batch.
        rng: seed of the draws, and of values of the conditions.
        conditions: searched call arguments.
        device: where latents are made.
    """
    entropy = draw_entropy(rng, "batch size")
    bank, searched = Bank(generator.prior, (), device=device), ConditionRows(conditions or {})
    rows = [searched.decode(t) for t in searched.sample(most, np.random.default_rng(entropy))]
    candidates = [Candidate(i, ((Draw(entropy, i), 1.0),), row, 0) for i, row in enumerate(rows)]
    for size in (1 << k for k in range(most.bit_length())):
        try:
            timing = _timing(generator, candidates[:size], bank)
        except Exception as error:
            if not out_of_memory(error):
                raise
            timing = None
        if timing is None:  # not inside the handler, whose traceback still holds the tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return
        yield timing


def measure(
    generator: Generator,
    most: int,
    *,
    rng: int,
    conditions: Searched | None = None,
    device: torch.device | str = "cpu",
) -> Measured:
    """The size above which batches give hardly more outputs a second, or do not fit; arguments as `timings`.

    Raises:
        GenerationError: the generator raises for a plain draw, or one output does not fit in memory.
    """
    found: list[Timing] = []
    best = 0  # its place among the sizes found
    try:
        for i, timing in enumerate(timings(generator, most, rng=rng, conditions=conditions, device=device)):
            found.append(timing)
            best = i if timing.rate >= GAIN * found[best].rate else best
            if i - best >= (2 if conditions or timing.seconds < QUICK else 1):
                break
    except SurrogateError:
        raise
    except Exception as error:
        raise GenerationError(
            f'batch_size: "auto" makes plain draws, and a batch of them failed: {type(error).__name__}: {error}. '
            "Mend the generator, or give a number, with which an output that fails does so alone."
        ) from error
    if not found:
        raise GenerationError('batch_size: "auto" found no room in memory for a single output; make smaller ones.')
    return Measured(found[best].size, found)


def recorded_size(record: Mapping[str, Any] | None, study: str) -> int | None:
    """The size that was measured for a study, None where none was.

    Args:
        record: of the search.
        study: what it is called, for messages.

    Raises:
        MismatchError: something else, as a record has that was altered.
    """
    try:
        found = mapping({} if record is None else record, "its record of the search").get(RECORDED)
        return None if found is None else whole(found, RECORDED, least=1, most=MOST)
    except ArgumentError as error:
        raise MismatchError(f"{study}: its record was altered. {error}") from error


def _timing(generator: Generator, candidates: Sequence[Candidate[int]], bank: Bank) -> Timing:
    z, conditions = latents_of(candidates, bank, generator), [candidate.condition for candidate in candidates]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    calls: list[float] = []
    while not calls or (sum(calls) < QUICK and len(calls) < CALLS):
        calls.append(_seconds(generator, z, conditions))
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return Timing(len(candidates), len(calls), sum(calls), min(calls), memory)


def _seconds(generator: Generator, z: Any, conditions: Sequence[Condition]) -> float:
    clock = time.perf_counter()
    generator.generate(z, conditions)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()  # what it has begun there counts
    return time.perf_counter() - clock
