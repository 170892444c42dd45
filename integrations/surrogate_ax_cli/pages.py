"""`surrogate-ax gallery` and `surrogate-ax report`: any study as pages, with what its generator can add."""

from __future__ import annotations

import gc
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from surrogate_ax.report.remade import Remade
from surrogate_ax.report.shown_study import StudySource
from surrogate_ax_cli.inspect import Findings, examine
from surrogate_ax_cli.makers import Maker, maker_of
from surrogate_ax_cli.sources import files_source
from surrogate_ax_cli.targets import Searched
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
    _collect_rarely()
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
    _collect_rarely()
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
    source = files_source(searched)
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


def _collect_rarely() -> None:
    """Have Python's collector go through memory less often.

    A study of 10,000 trials is a million objects that stay, and reading it would take twice as long.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


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
