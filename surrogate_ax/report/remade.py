"""A study whose outputs are made again, where no file of them was kept."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from surrogate_ax.generation.protocols import Generator, Timed
from surrogate_ax.generation.recipe import Recipe, check_fingerprint, render
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.media.previews import save_preview
from surrogate_ax.report.shown_study import Figure, ShownStudy, StudySource

BATCH = 8  # outputs made together: the one that is asked for, and those that come after it


class Remade:
    """A source that remakes what lacks a file.

    Args:
        source: of a study.
        generator: the one that the study was made with.

    Raises:
        MismatchError: another generator.
    """

    def __init__(self, source: StudySource, generator: Generator) -> None:
        self._source, self._generator = source, generator
        self._made: dict[int, Preview] = {}
        self._one_at_a_time = threading.Lock()  # a model is no use to two threads at once
        study = source.read()
        recorded = next((trial.recipe.generator for trial in study.trials if trial.recipe is not None), None)
        if recorded is not None:
            check_fingerprint(recorded, generator, what="study")

    def state(self) -> str:
        """As the source's."""
        return self._source.state()

    def read(self) -> ShownStudy:
        """As the source's."""
        return self._source.read()

    def figures(self) -> Sequence[Figure]:
        """As the source's."""
        return self._source.figures()

    def preview(self, number: int) -> Preview | None:
        """The file that was kept, or one that is made now.

        Raises:
            GenerationError: the generator failed for it.
        """
        kept = self._source.preview(number)
        if kept is not None:
            return kept
        with self._one_at_a_time:
            if number not in self._made:
                self._make(number)
            return self._made.get(number)

    def _make(self, number: int) -> None:
        """Make an output, together with those of the next trials that have none."""
        study = self._source.read()
        lacking: dict[int, Recipe] = {
            trial.number: trial.recipe
            for trial in study.trials
            if trial.recipe is not None and trial.state in ("done", "stopped") and trial.number not in self._made
            if trial.number == number or not trial.file
        }
        if number not in lacking:
            return
        batch = [number, *(other for other in lacking if other > number)][:BATCH]
        outputs, _ = render([lacking[one] for one in batch], self._generator, seeds=study.seeds)
        rate = self._generator.rate if isinstance(self._generator, Timed) else None
        with tempfile.TemporaryDirectory() as folder:
            for one, output in zip(batch, outputs, strict=True):
                file = save_preview(output, Path(folder) / f"trial{one}", rate=rate)
                self._made[one] = Preview(file.name, file.read_bytes())
