"""`surrogate-ax gallery` and `surrogate-ax report`: any study as pages, with what its generator can add."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from surrogate_ax.report.remade import Remade
from surrogate_ax.report.shown_study import Figure, Preview, ShownStudy, StudySource
from surrogate_ax_cli.inspect import Findings, examine
from surrogate_ax_cli.makers import Maker, maker_of
from surrogate_ax_cli.targets import Searched, open_target
from surrogate_ax_optuna import study_source
from surrogate_ax_optuna.attributes import TICKET_ATTR, attributes
from surrogate_ax_web import Picture, gallery, write_report
from surrogate_ax_web import serve as serve_page

SIDE = 7  # outputs along an axis of the map


def write(searched: Searched, path: Path, *, items: int, spec: str | None = None, inspected: bool = False) -> Path:
    """Write a study as one file.

    Args:
        searched: the study.
        path: where to.
        items: best outputs that are shown first.
        spec: of the generator, as for `maker_of`.
        inspected: whether the pictures of `inspect` are made for it.

    Raises:
        SurrogateError: as `source_of` and `write_report`.
    """
    pictures = pictures_of(searched, spec) if inspected else []
    return write_report(source_of(searched, spec), path, items=items, pictures=pictures)


def serve(searched: Searched, port: int, *, items: int, spec: str | None = None, say: Callable[[str], None]) -> None:
    """Serve a study's gallery until interrupted.

    Args:
        searched: the study.
        port: on 127.0.0.1; 0 takes a free one.
        items: best outputs that are shown first.
        spec: of the generator, as for `maker_of`.
        say: called with the address.

    Raises:
        SurrogateError: as `source_of`, or a taken port.
    """
    shown = gallery(source_of(searched, spec), pictures=pictures_of(searched, spec), items=items)
    serve_page(shown, port, say=lambda address: say(f"{address} shows {searched.name!r}; Ctrl-C ends it"))


def source_of(searched: Searched, spec: str | None = None) -> StudySource:
    """A study for pages; outputs without a kept file are made again where the generator is known.

    Args:
        searched: the study.
        spec: of the generator, as for `maker_of`.

    Raises:
        SurrogateError: the study cannot be read, or the generator is not what made it.
    """
    source = _with_copies(searched) if searched.on_ax else study_source(searched.kept, previews=searched.previews)
    if spec is None and searched.sweep is None:
        return source
    lacking = any(trial.state == "done" and not trial.file for trial in source.read().trials)
    return Remade(source, maker_of(searched, spec).generator) if lacking else source


def pictures_of(searched: Searched, spec: str | None = None) -> list[Picture]:
    """The map of the box and the seeds, as `inspect` draws them; none where the generator is not known.

    Args:
        searched: the study.
        spec: of the generator, as for `maker_of`; it is built when the first picture is asked for.
    """
    if spec is None and searched.sweep is None:
        return []
    examined = _Examined(searched, spec)
    return [
        Picture("map", "The box over the three seeds that add most", "The best trials are framed.", examined.map),
        Picture("seeds", "What each seed adds to the score", "Drawn by the generator, the best first.", examined.seeds),
    ]


class _Examined:
    """A study's findings, worked out once, when a picture of them is asked for."""

    def __init__(self, searched: Searched, spec: str | None) -> None:
        self._searched, self._spec = searched, spec
        self._found: tuple[Findings, Maker] | None = None
        self._lock = threading.Lock()

    def map(self) -> bytes:
        from surrogate_ax_cli.inspect_pictures import draw_map

        return self._drawn(partial(draw_map, side=SIDE))

    def seeds(self) -> bytes:
        from surrogate_ax_cli.inspect_pictures import draw_seeds

        return self._drawn(draw_seeds)

    def _drawn(self, draw: Callable[..., None]) -> bytes:
        with self._lock, tempfile.TemporaryDirectory() as folder:  # a model is no use to two threads at once
            if self._found is None:
                maker = maker_of(self._searched, self._spec)
                self._found = examine(self._searched, maker.generator), maker
            findings, maker = self._found
            draw(findings, maker.generator, Path(folder) / "picture.png")
            return (Path(folder) / "picture.png").read_bytes()


def _with_copies(searched: Searched) -> StudySource:
    """An Ax experiment; its pictures are in the study that mirrors it, where there is one beside its snapshot."""
    from surrogate_ax_platform import client_source

    source = client_source(Path(searched.where))
    database = Path(searched.where).with_suffix(".db")
    if not database.is_file():
        return source
    copy = open_target(str(database), searched.name)
    return _Illustrated(source, copy)


class _Illustrated:
    """A source whose files are those of a study that copies it.

    Args:
        source: of an Ax experiment.
        copy: the mirror of it.
    """

    def __init__(self, source: StudySource, copy: Searched) -> None:
        self._source, self._copy = source, copy
        self._pictures = study_source(copy.kept, previews=copy.previews)
        self._numbers: dict[int, int] = {}  # of the copies, by the trials' own

    def state(self) -> str:
        """As the source's."""
        return self._source.state()

    def figures(self) -> Sequence[Figure]:
        """As the source's."""
        return self._source.figures()

    def read(self) -> ShownStudy:
        """The source's study with the names of the files of its copy."""
        study, files = self._source.read(), {trial.number: trial.file for trial in self._pictures.read().trials}
        copies = self._copy.kept.get_trials(deepcopy=False)
        self._numbers = {int(attributes(copy).get(TICKET_ATTR, -1)): copy.number for copy in copies}
        shown = [
            dataclasses.replace(trial, file=files.get(self._numbers.get(trial.number, -1), trial.file))
            for trial in study.trials
        ]
        return dataclasses.replace(study, trials=shown)

    def preview(self, number: int) -> Preview | None:
        """The file of the copy of a trial."""
        copied = self._numbers.get(number)
        return self._source.preview(number) if copied is None else self._pictures.preview(copied)
