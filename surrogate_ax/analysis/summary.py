"""A study in a line, and in a notebook with the pictures of its best trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.markup import card, one_line
from surrogate_ax.media.previews import pillow
from surrogate_ax.media.thumbnails import thumbnails

SHOWN = 6  # best trials


@dataclass(frozen=True)
class Summary:
    """What a study holds, to be looked at.

    Args:
        name: the study's.
        record: its trials.
        pictures: files of outputs, by number of their trial.
    """

    name: str
    record: SearchRecord
    pictures: Mapping[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        best = self._captions()[:1]
        return one_line("Summary", repr(self.name), self.record.status, *best, f"{self.record.nfe:,.0f} NFE")

    def _repr_html_(self) -> str:
        rows = self._best()
        files = [self.pictures.get(self.record.trials[row].number) for row in rows]
        with_picture = [(file, text) for file, text in zip(files, self._captions(), strict=True) if file]
        pictures = thumbnails([_opened(file) for file, _ in with_picture], [text for _, text in with_picture])
        objective = self.record.history.objective
        facts = {
            "metrics": ", ".join(f"{metric.name} ({metric.goal})" for metric in objective.metrics),
            "trials": self.record.status,
            "rounds": len(np.unique(self.record.history.round)),
            "cost": f"{self.record.nfe:,.0f} NFE",
            "best": "" if pictures else "; ".join(self._captions()),
        }
        return card(self.name, facts, pictures)

    def _best(self) -> list[int]:
        order: list[int] = self.record.history.order[: min(SHOWN, self.record.scored)].tolist()
        return order

    def _captions(self) -> list[str]:
        values = self.record.history.values
        return [
            f"trial {self.record.trials[row].number}: "
            + ", ".join(f"{name} {column[row]:.4g}" for name, column in values.items())
            for row in self._best()
        ]


def _opened(file: str) -> object:
    """A picture, or the name of a file that is none."""
    try:
        with pillow().open(file) as image:
            return image.convert("RGB")
    except OSError:
        return file
