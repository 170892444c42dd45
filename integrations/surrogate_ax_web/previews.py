"""Serving the outputs of trials to pages: pictures, clips, sound and structures, as `save_preview` wrote them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".pdb": "chemical/x-pdb",
    ".cif": "chemical/x-cif",
}


@dataclass(frozen=True)
class Preview:
    """An output as a file to look at.

    Args:
        name: of the file; its suffix says the kind.
        content: its bytes.
    """

    name: str
    content: bytes

    @property
    def mime(self) -> str:
        """Its type, for browsers; one that shows nothing where the suffix is of no known kind."""
        return mime_of(self.name)

    @property
    def kind(self) -> Literal["image", "video", "audio", "structure", "file"]:
        """What shows it: an image, a player, or a link to the file."""
        return kind_of_file(self.name)


def mime_of(name: str) -> str:
    """The type of a file by its suffix."""
    return MIME.get(PurePath(name).suffix.lower(), "application/octet-stream")


def kind_of_file(name: str) -> Literal["image", "video", "audio", "structure", "file"]:
    """What shows a file, by its suffix."""
    family = mime_of(name).partition("/")[0]
    if family in ("image", "video", "audio"):
        return family  # type: ignore[return-value]
    return "structure" if family == "chemical" else "file"


def preview_routes(find: Callable[[int], Preview | None]) -> list[Route]:
    """The route `/previews/NUMBER`, named `preview`: the output of a trial.

    Args:
        find: the preview of a trial by its number, None where it has none; called in a thread. A trial's preview never
            changes, so that browsers keep it.
    """

    def preview(request: Request) -> Response:
        found = find(request.path_params["number"])
        if found is None:
            return PlainTextResponse("This trial has no preview.", status_code=404)
        name = PurePath(found.name).name.replace('"', "").encode("ascii", "replace").decode("ascii")
        headers = {
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Disposition": f'inline; filename="{name}"',
        }
        return Response(found.content, media_type=found.mime, headers=headers)

    return [Route("/previews/{number:int}", preview, name="preview")]
