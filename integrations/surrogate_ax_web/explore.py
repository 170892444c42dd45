"""The page of `surrogate-ax explore`: look at a few pictures, choose, get better ones.

The page asks for `/page` and shows its items as they are made; whatever a person does is a POST, answered with the page
that follows. Pictures carry their recipes, so that one saved from the page, or dropped onto it, is searched around.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from surrogate_ax.checks import mapping, whole
from surrogate_ax.errors import ArgumentError, SurrogateError
from surrogate_ax.execution.asking import Page
from surrogate_ax.execution.exploration import Exploration
from surrogate_ax.execution.making import Made
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.generation.saved_picture import SavedPicture, save_picture, saved_in
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax_web.application import application, templates
from surrogate_ax_web.previews import kind_of_file, preview_routes

LONGEST, LARGEST = 1 << 16, 32 << 20  # bytes of what the page sends, and of a picture that is dropped
PATIENCE = 60.0  # seconds that a file may take to be made once it is asked for
Handler = Callable[[Request], Awaitable[Response]]


class Pictures:
    """Files of the items that were shown, each with its recipe.

    Args:
        exploration: makes the items.
        saved: what a file of a recipe carries.
        folder: for the files.
    """

    def __init__(self, exploration: Exploration, saved: Callable[[Recipe], SavedPicture], folder: Path) -> None:
        self._exploration, self._saved, self._folder = exploration, saved, folder
        self._lock = threading.Lock()
        self._files: dict[int, Path] = {}
        self._reasons: dict[int, str] = {}
        self._notes: dict[int, str] = {}

    def state(self, trial: int) -> dict[str, Any]:
        """An item for the page: its file, or why there is none; neither while it is being made."""
        file = self.file(trial)
        shown = None if file is None else kind_of_file(file.name)
        return {"trial": trial, "kind": shown, "reason": self._reasons.get(trial), "note": self._notes.get(trial, "")}

    def file(self, trial: int, *, timeout: float = 0.0) -> Path | None:
        """The file of an item; None while it is being made, and where it failed."""
        if trial not in self._files and trial not in self._reasons:
            made = self._exploration.made(trial, timeout)
            with self._lock:
                if made is not None and made.reason is not None:
                    self._reasons[trial] = made.reason
                elif made is not None and trial not in self._files:
                    self._files[trial] = self._save(trial, made, self._folder)
                    self._notes[trial] = measured_text(made.values, self._exploration.objective)
        return self._files.get(trial)

    def preview(self, trial: int) -> Preview | None:
        """The file of an item, to be sent."""
        try:
            file = self.file(trial, timeout=PATIENCE)
        except ArgumentError:  # no such trial
            return None
        return None if file is None else Preview(file.name, file.read_bytes())

    def save_to(self, trial: int, folder: Path) -> None:
        """Write an item that is kept into a folder."""
        made = self._exploration.made(trial, PATIENCE)
        if made is not None and made.reason is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._save(trial, made, folder)

    def _save(self, trial: int, made: Made, folder: Path) -> Path:
        saved = self._saved(self._exploration.recipe(trial, made))
        return save_picture(made.output, folder / f"trial{trial}", saved, rate=self._exploration.rate)


def measured_text(values: Mapping[str, float], objective: Objective) -> str:
    """What was measured of an item, and which bounds it does not keep.

    Args:
        values: by metric.
        objective: has the bounds.
    """
    return ", ".join(
        f"{metric.name} {values[metric.name]:.3g}{_bound_text(metric, values[metric.name])}"
        for metric in objective.metrics
        if metric.name in values
    )


def _bound_text(metric: Metric, value: float) -> str:
    if metric.bound is None or value == metric.bound or (value > metric.bound) == (metric.goal == "at_least"):
        return ""
    return f" ({'below' if metric.goal == 'at_least' else 'above'} {metric.bound:g})"


def explore_page(
    exploration: Exploration,
    saved: Callable[[Recipe], SavedPicture],
    *,
    folder: Path,
    prompt: str = "",
    kept: Path | None = None,
) -> Starlette:
    """An application that shows an exploration.

    Args:
        exploration: what is shown; the caller closes it.
        saved: what the file of a recipe carries.
        folder: for the files of what is shown, as long as the application is there.
        prompt: shown above the pictures.
        kept: folder for pictures that are kept; they are downloads only if left out.
    """
    pictures = Pictures(exploration, saved, folder)
    version = secrets.token_hex(4)  # browsers keep files of other servers at the same address

    def described(page: Page) -> JSONResponse:
        return JSONResponse(
            {
                "number": page.number,
                "mode": page.mode,
                "favourite": page.favourite,
                "items": [pictures.state(trial) for trial in page.trials],
                "kept": list(page.kept),
                "version": version,
            }
        )

    def index(request: Request) -> Response:
        measures = len(exploration.objective.metrics) > 1  # something beside what is liked
        shown = {"prompt": prompt, "kept": str(kept or ""), "measures": measures}
        return templates.TemplateResponse(request, "explore.html", shown)

    def answer(given: Mapping[str, Any]) -> Page:
        more = given.get("more")
        return exploration.answer(
            _number(given, "number"),
            _numbers(given, "liked"),
            _numbers(given, "disliked"),
            None if more is None else whole(more, "more", least=0),
        )

    def expect(given: Mapping[str, Any]) -> Page:
        exploration.expect(_number(given, "number"), _numbers(given, "liked"), _numbers(given, "disliked"))
        return exploration.page

    def keep(given: Mapping[str, Any]) -> Page:
        trial, wanted = _number(given, "trial"), given.get("kept") is True
        page = exploration.keep(trial, wanted)
        if wanted and kept is not None:
            pictures.save_to(trial, kept)
        return page

    def changing(change: Callable[[Mapping[str, Any]], Page]) -> Handler:
        async def handler(request: Request) -> Response:
            return await _reported(lambda content: described(change(_json(content))), request, LONGEST)

        return handler

    async def show(request: Request) -> Response:
        return await _reported(lambda _: described(exploration.page), request, LONGEST)

    async def drop(request: Request) -> Response:
        name = request.query_params.get("name", "the file")[:100]

        def around(content: bytes) -> Response:
            return described(exploration.look_around(saved_in(content, name).recipe))

        return await _reported(around, request, LARGEST)

    changes: dict[str, Callable[[Mapping[str, Any]], Page]] = {
        "answer": answer,
        "expect": expect,
        "keep": keep,
        "undo": lambda _: exploration.undo(),
        "mode": lambda given: exploration.set_mode(given.get("mode")),  # type: ignore[arg-type]  # it is checked there
    }
    return application(
        [
            Route("/", index),
            Route("/page", show),
            Route("/drop", drop, methods=["POST"]),
            *(Route(f"/{name}", changing(change), methods=["POST"]) for name, change in changes.items()),
            *preview_routes(pictures.preview),
        ]
    )


async def _reported(do: Callable[[bytes], Response], request: Request, largest: int) -> Response:
    """What a function makes of the body of a request, in a thread; what it refuses is said."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > largest:
            return JSONResponse({"error": f"expected at most {largest:,} bytes."}, status_code=413)
    try:
        return await run_in_threadpool(do, bytes(content))
    except SurrogateError as error:
        return JSONResponse({"error": str(error)}, status_code=400 if isinstance(error, ValueError) else 500)


def _json(content: bytes) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(content or b"{}"), "request")
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"request: expected JSON ({error}).") from error


def _number(given: Mapping[str, Any], name: str) -> int:
    return whole(given.get(name), name, least=0)


def _numbers(given: Mapping[str, Any], name: str) -> list[int]:
    values = given.get(name, [])
    if not isinstance(values, list):
        raise ArgumentError(f"{name}: expected a list of trials.")
    return [whole(value, name, least=0) for value in values]
