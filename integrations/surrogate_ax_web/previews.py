"""Serving the outputs of trials to pages: pictures, clips, sound and structures, as `save_preview` wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from surrogate_ax.media.preview_files import Preview

MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".pdb": "chemical/x-pdb",
    ".cif": "chemical/x-cif",
}
Kind = Literal["image", "video", "audio", "structure", "file"]
KINDS: dict[str, Kind] = {"image": "image", "video": "video", "audio": "audio", "chemical": "structure"}


def mime_of(name: str) -> str:
    """The type of a file by its suffix, for browsers; one that shows nothing where the suffix is of no known kind."""
    return MIME.get(PurePath(name).suffix.lower(), "application/octet-stream")


def kind_of_file(name: str) -> Kind:
    """What shows a file, by its suffix: an image, a player, a drawing of a structure, or a link."""
    return KINDS.get(mime_of(name).partition("/")[0], "file")


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
        return Response(found.content, media_type=mime_of(found.name), headers=headers)

    return [Route("/previews/{number:int}", preview, name="preview")]
