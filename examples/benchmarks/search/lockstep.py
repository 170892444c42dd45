"""Many cells at once through one model: every cell is a generator that yields latents and is sent values.

A cell asks for a batch of its own size; the batches of all cells that wait are joined into full ones of 32 for the
model, so small rounds cost no more than large ones here. What a lone search would wait is counted apart, from a table
of how long the stock generator takes for a batch of each size. Images are kept by latent, so draws that methods share
are made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pool
from embedded import key
from objectives import Task

Array = np.ndarray
Asking = Generator[Array, Mapping[str, Array], None]  # yields latents (n, 768), is sent values (n,) by metric


@dataclass
class Trace:
    """What a cell did: latents (n, 768), values (n,) by metric, batch sizes and CPU seconds of planning by batch."""

    latents: list[Array] = field(default_factory=list)
    values: list[Mapping[str, Array]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    planning: list[float] = field(default_factory=list)

    def joined(self) -> tuple[Array, dict[str, Array]]:
        """All latents and values in order."""
        names = list(self.values[0])
        return np.concatenate(self.latents), {n: np.concatenate([v[n] for v in self.values]) for n in names}


class Images:
    """Images by latent; makes those it has not."""

    def __init__(self, model: Callable[[Array], Array]) -> None:
        self.model = model
        self.kept: dict[bytes, Array] = {}
        made = pool.read("starts")
        for repeat in range(len(made) // pool.STARTS):
            rows = pool.starts(repeat)
            for i, row in enumerate(rows):
                self.kept[key(row)] = made[repeat * pool.STARTS + i]


def run(cells: Sequence[tuple[Task, Asking]], images: Images) -> list[Trace]:
    """Every cell to its end.

    Args:
        cells: a task and a generator each.
        images: where images come from.
    """
    traces = [Trace() for _ in cells]
    waiting: dict[int, Array] = {}
    for i in range(len(cells)):
        _step(i, cells, traces, waiting, None)
    while waiting:
        _make([row for i in sorted(waiting) for row in waiting[i]], images)
        for i in sorted(waiting):  # all that wait; a part of a batch of 32 is lost at most
            rows = waiting.pop(i)
            values = cells[i][0].values(np.stack([images.kept[key(row)] for row in rows]))
            traces[i].values.append(values)
            _step(i, cells, traces, waiting, values)
    return traces


def _step(
    i: int,
    cells: Sequence[tuple[Task, Asking]],
    traces: list[Trace],
    waiting: dict[int, Array],
    values: Mapping[str, Array] | None,
) -> None:
    clock = time.thread_time()
    try:
        rows = cells[i][1].send(values)  # type: ignore[arg-type]
    except StopIteration:
        return
    finally:
        traces[i].planning.append(time.thread_time() - clock)
    waiting[i] = np.asarray(rows, dtype=np.float32)
    traces[i].latents.append(waiting[i])
    traces[i].sizes.append(len(rows))


def _make(rows: Sequence[Array], images: Images) -> None:
    missing = {key(row): row for row in rows if key(row) not in images.kept}
    if missing:
        made = images.model(np.stack(list(missing.values())))
        images.kept.update(zip(missing, made, strict=True))
