"""Many cells at once through one model: every cell is a generator that yields latents and is sent values.

A cell asks for a batch of its own size, whole (an array) or for some of the steps (`Part`); the batches of all cells
that wait for the same steps are joined into full ones of 32 for the model, so small rounds cost no more than large ones
here. What a lone search would wait is counted apart, from a table of how long the stock generator takes for a batch of
each size. Images are kept by latent, so draws that methods share are made once.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pool
from embedded import STEPS, Model, key
from objectives import Task

Array = np.ndarray
TIMES = Path(__file__).parent / "times.json"


@dataclass(frozen=True)
class Part:
    """Some steps of a batch.

    Args:
        rows: (n, 768) after `start` steps.
        start: steps done.
        end: steps to come to.
        which: (n,) their numbers among the cell's latents.
    """

    rows: Array
    start: int
    end: int
    which: Array


Values = Mapping[str, Array]
# Yields latents (n, 768) and is sent values (n,), or a Part and is sent rows at its end and values.
Asking = Generator[Any, Any, None]


@dataclass
class Trace:
    """What a cell did.

    Args:
        latents: (n, 768) of the batches.
        values: (n,) by metric of the batches, NaN for what was stopped.
        sizes: of the batches.
        planning: CPU seconds before each batch, and after the last.
        nfe: network evaluations of the batches.
        seconds: generation of the batches by the stock generator.
    """

    latents: list[Array] = field(default_factory=list)
    values: list[dict[str, Array]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    planning: list[float] = field(default_factory=list)
    nfe: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def joined(self) -> tuple[Array, dict[str, Array]]:
        """All latents and values in order."""
        names = list(self.values[0])
        return np.concatenate(self.latents), {n: np.concatenate([v[n] for v in self.values]) for n in names}


class Images:
    """Images by latent; makes those it has not."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.kept: dict[bytes, Array] = {}
        made = (
            pool.read("starts") if (pool.CACHE / "starts").exists() else ()
        )  # else they are made when they are asked for
        for repeat in range(len(made) // pool.STARTS):
            rows = pool.starts(repeat)
            for i, row in enumerate(rows):
                self.kept[key(row)] = made[repeat * pool.STARTS + i]

    def of(self, rows: Array) -> Array:
        """Images (n, 16, 16, 3) of latents (n, 768)."""
        _make(list(rows), self)
        return np.stack([self.kept[key(row)] for row in rows])


def run(cells: Sequence[tuple[Task, Asking]], images: Images) -> list[Trace]:
    """Every cell to its end.

    Args:
        cells: a task and a generator each.
        images: where images come from.
    """
    traces = [Trace() for _ in cells]
    waiting = dict[int, Any]()
    for i in range(len(cells)):
        _step(i, cells, traces, waiting, None)
    while waiting:
        groups = defaultdict[tuple[int, int], list[int]](list)
        for i, asked in sorted(waiting.items()):
            groups[(asked.start, asked.end) if isinstance(asked, Part) else (0, STEPS)].append(i)
        steps = max(groups, key=lambda steps: sum(_size(waiting[i]) for i in groups[steps]))
        parts = [i for i in groups[steps] if isinstance(waiting[i], Part)]
        if parts:
            rows, made = images.model.advance(np.concatenate([waiting[i].rows for i in parts]), *steps)
        _make([row for i in groups[steps] if i not in parts for row in waiting[i]], images)
        for i in groups[steps]:
            asked = waiting.pop(i)
            n = _size(asked)
            if isinstance(asked, Part):
                values = cells[i][0].values(made[:n])
                if steps[1] == STEPS:
                    _keep(traces[i], asked.which, values)
                    latents = np.concatenate(traces[i].latents)[asked.which]
                    images.kept.update(zip(map(key, latents), made[:n], strict=True))
                answer: Any = (rows[:n], values)
                rows, made = rows[n:], made[n:]
            else:
                answer = values = cells[i][0].values(np.stack([images.kept[key(row)] for row in asked]))
                traces[i].values.append(dict(values))
            _step(i, cells, traces, waiting, answer)
    return traces


def seconds(size: int) -> float:
    """How long the stock generator takes for a batch, from the measured table."""
    table = {int(n): float(s) for n, s in json.loads(TIMES.read_text()).items()}
    return float(np.interp(size, sorted(table), [table[n] for n in sorted(table)]))


def _size(asked: Any) -> int:
    return len(asked.rows if isinstance(asked, Part) else asked)


def _keep(trace: Trace, which: Array, values: Values) -> None:
    """Put values of finished rows into their batch, the last."""
    start = sum(trace.sizes[:-1])
    for name, column in values.items():
        trace.values[-1][name][which - start] = column


def _step(
    i: int, cells: Sequence[tuple[Task, Asking]], traces: list[Trace], waiting: dict[int, Any], answer: Any
) -> None:
    trace, clock = traces[i], time.thread_time()
    try:
        asked = cells[i][1].send(answer)
    except StopIteration:
        asked = None
    planning = time.thread_time() - clock
    n = 0 if asked is None else _size(asked)
    if not isinstance(asked, Part) or asked.start == 0:  # a new batch
        trace.planning.append(planning)
        if asked is None:
            return
        latents = np.asarray(asked.rows if isinstance(asked, Part) else asked, dtype=np.float32)
        trace.latents.append(latents)
        trace.sizes.append(n)
        trace.nfe.append(0)
        trace.seconds.append(0.0)
        if isinstance(asked, Part):
            names = [metric.name for metric in cells[i][0].objective.metrics]
            trace.values.append({name: np.full(n, np.nan) for name in names})
        else:
            asked = latents
    else:
        trace.planning[-1] += planning
    start, end = (asked.start, asked.end) if isinstance(asked, Part) else (0, STEPS)
    trace.nfe[-1] += n * (end - start)
    trace.seconds[-1] += seconds(n) * (end - start) / STEPS
    waiting[i] = asked


def _make(rows: Sequence[Array], images: Images) -> None:
    missing = {key(row): row for row in rows if key(row) not in images.kept}
    if missing:
        made = images.model(np.stack(list(missing.values())))
        images.kept.update(zip(missing, made, strict=True))
