"""The gallery: every trial of a study as a page that lives while its search runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from surrogate_ax.report.figures import study_figures
from surrogate_ax.report.remade import Remade
from surrogate_ax.report.shown_study import Figure, ShownStudy, StudySource
from surrogate_ax_web.application import application, templates
from surrogate_ax_web.distinct import Compared
from surrogate_ax_web.plotly_script import plotly_script
from surrogate_ax_web.previews import preview_routes
from surrogate_ax_web.study_json import study_document, trial_document

FIRST = 48  # outputs that are compared before the page is shown; the others are while it is looked at
MONTH = {"Cache-Control": "private, max-age=2592000"}


@dataclass(frozen=True)
class Picture:
    """A picture about a study that takes a while to make, as a map of its box.

    Args:
        name: a word, for its address.
        title: above it.
        note: what it shows.
        make: gives it as PNG.
    """

    name: str
    title: str
    note: str
    make: Callable[[], bytes]


def gallery(source: StudySource, *, pictures: Sequence[Picture] = (), items: int = 12) -> Starlette:
    """The application of a gallery.

    Args:
        source: the study; where it is a `Remade`, outputs without a file are made when they are looked at.
        pictures: made when they are asked for.
        items: best outputs that the first view shows.
    """
    return application(gallery_routes(source, pictures=pictures, items=items))


def gallery_routes(source: StudySource, *, pictures: Sequence[Picture] = (), items: int = 12) -> list[Route]:
    """Its routes; arguments as for `gallery`."""
    shown, named = _Latest(source, items), {picture.name: picture for picture in pictures}
    threading.Thread(target=shown.read_ahead, daemon=True).start()

    def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "gallery.html", {"name": shown.name, "embedded": None})

    def state(request: Request) -> Response:
        return PlainTextResponse(shown.state())

    def study(request: Request) -> Response:
        listed = [{"name": one.name, "title": one.title, "note": one.note} for one in pictures]
        return JSONResponse(shown.document() | {"pictures": listed})

    def trial(request: Request) -> Response:
        at, places = shown.study(), shown.places()
        place = places.get(request.path_params["number"])
        if place is None:
            return PlainTextResponse("There is no such trial.", status_code=404)
        return JSONResponse(trial_document(at, place))

    def figures(request: Request) -> Response:
        return JSONResponse(figure_documents([*study_figures(shown.study()), *source.figures()]))

    def picture(request: Request) -> Response:
        found = named.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("There is no such picture.", status_code=404)
        return Response(found.make(), media_type="image/png")

    def plotly(request: Request) -> Response:
        return Response(plotly_script(), media_type="text/javascript", headers=MONTH)

    return [
        Route("/", page),
        Route("/state", state),
        Route("/study.json", study),
        Route("/trials/{number:int}.json", trial),
        Route("/figures.json", figures),
        Route("/pictures/{name}.png", picture),
        Route("/plotly.js", plotly),
        *preview_routes(source.preview),
    ]


def figure_documents(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Figures as the page's scripts read them."""
    return [{"title": one.title, "note": one.note, **one.drawing} for one in figures]


class _Latest:
    """A study, read again when it has changed, once for all requests that wait for it."""

    def __init__(self, source: StudySource, items: int) -> None:
        self._source, self._compared = source, Compared(source, items)
        self._lock = threading.Lock()
        self._state: str | None = None
        self._study: ShownStudy | None = None
        self._document: dict[str, Any] | None = None
        self._places: dict[int, int] = {}
        self._comparing = False

    def read_ahead(self) -> None:
        """Read it before anybody asks; what fails then fails again, and is shown, when somebody does."""
        with contextlib.suppress(Exception):
            self.document()

    @property
    def name(self) -> str:
        """Of the study, empty until it was read."""
        return self._study.name if self._study is not None else ""

    def state(self) -> str:
        """A text that changes whenever the document does."""
        state, document = self._source.state(), self._document
        return str(document["state_text"]) if document is not None and state == self._state else state

    def study(self) -> ShownStudy:
        with self._lock:
            return self._read()

    def places(self) -> dict[int, int]:
        """Places of trials by their numbers."""
        with self._lock:
            self._read()
            return self._places

    def document(self) -> dict[str, Any]:
        """What the page shows; the best are as far as the first `FIRST` outputs tell, until more are compared."""
        with self._lock:
            study = self._read()
            if self._document is None:
                best, apart = self._compared.best(study, new=FIRST)
                unfinished = apart and len(best) < self._compared.items
                self._document = self._written(study, best, apart, comparing=unfinished)
                if unfinished and not self._comparing:
                    self._comparing = True
                    threading.Thread(target=self._compare, daemon=True).start()
            return self._document

    def _compare(self) -> None:
        """Compare all outputs, of what the study has become meanwhile too."""
        compared = False
        try:
            while not compared:
                study = self.study()
                best, apart = self._compared.best(study)
                with self._lock:
                    compared = study is self._study
                    if compared:
                        self._document = self._written(study, best, apart, comparing=False)
                        self._document["state_text"] += ", compared"
                        self._comparing = False
        except BaseException:
            self._comparing = False  # the next change of the study tries again
            raise

    def _written(self, study: ShownStudy, best: list[int], apart: bool, *, comparing: bool) -> dict[str, Any]:
        document = study_document(study, best, apart=apart, remade=isinstance(self._source, Remade))
        return document | {"comparing": comparing, "state_text": self._state}

    def _read(self) -> ShownStudy:
        state = self._source.state()
        if self._study is None or state != self._state:
            self._study, self._state, self._document = self._source.read(), state, None
            self._places = {trial.number: i for i, trial in enumerate(self._study.trials)}
        return self._study
