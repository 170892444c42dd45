"""A study for the tests of pages, kept in a list."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from surrogate_ax import Metric, Objective, Recipe
from surrogate_ax.latents.seeds import Draw, Stored, Terms
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.policies.history import History
from surrogate_ax.report.shown_study import Figure, ShownStudy, ShownTrial

EVIL = "</script><script>alert(1)</script>"


def objective(*metrics: Metric) -> Objective:
    return Objective(*(metrics or (Metric("score"),)), score=lambda *_: [])


def mixed(i: int) -> Terms:
    """A row over the first three draws and a stored seed."""
    weights = np.abs(np.sin(np.arange(4) + i)) + 0.1
    seeds = [*(Draw(1, k) for k in range(3)), Stored("a" * 64, "face.png")]
    return tuple(zip(seeds, (weights / np.linalg.norm(weights)).tolist(), strict=True))


def trials(n: int, *, drawn: int = 6, files: bool = True, colours: Sequence[str] = ("red",)) -> list[ShownTrial]:
    """Draws first, then mixtures; the last is running, the one before it failed; scores rise."""
    made = []
    for i in range(n):
        terms: Terms = ((Draw(1, i), 1.0),) if i < drawn else mixed(i)
        recipe = Recipe(terms, {"colour": colours[i % len(colours)], "steps": 4}, {"model": "m"}, 1)
        state = "running" if i == n - 1 else "failed" if i == n - 2 else "done"
        values = {"score": float(i)} if state == "done" else {}
        file = f"trial{i}.png" if files and state == "done" else ""
        reason = "it broke" if state == "failed" else ""
        ended = None if state == "running" else 1.7e9 + i
        made.append(ShownTrial(i, state, i // 4, values, recipe, file, 2.0, 0.5, ended, reason))
    return made


def study(shown: Sequence[ShownTrial], goal: Objective | None = None, *, name: str = "faces") -> ShownStudy:
    goal = goal or objective()
    empty = {metric.name: np.zeros(0) for metric in goal.metrics}
    history = History(goal, [], empty, np.zeros(0, dtype=np.int64))
    return ShownStudy(name, "Optuna", goal, list(shown), history, {"rng": 7, "generator": {"model": "m"}})


class ListSource:
    """Gives what it holds; `told` says that there is news."""

    def __init__(self, held: ShownStudy, figures: Sequence[Figure] = ()) -> None:
        self.held, self.told, self.asked = held, 0, list[int]()
        self._figures = figures

    def state(self) -> str:
        return str(self.told)

    def read(self) -> ShownStudy:
        return self.held

    def figures(self) -> Sequence[Figure]:
        return self._figures

    def preview(self, number: int) -> Preview | None:
        self.asked.append(number)
        trial = next((trial for trial in self.held.trials if trial.number == number), None)
        return Preview(trial.file, png(number)) if trial is not None and trial.file else None


def png(number: int) -> bytes:
    """A picture of its own for every number."""
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()
