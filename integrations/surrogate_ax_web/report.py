"""`write_report`: the gallery of a study as one HTML file that fetches nothing.

The page's scripts are put into one, its data and the files of outputs into the page. A content security policy in it
allows these scripts by their hashes, and nothing else; all that comes from outside stands in data, or is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from surrogate_ax.errors import ArgumentError
from surrogate_ax.report.figures import study_figures
from surrogate_ax.report.remade import Remade
from surrogate_ax.report.shown_study import ShownStudy, StudySource
from surrogate_ax_web.application import STATIC, templates
from surrogate_ax_web.distinct import Compared
from surrogate_ax_web.gallery import Picture, figure_documents
from surrogate_ax_web.plotly_script import plotly_script
from surrogate_ax_web.previews import mime_of
from surrogate_ax_web.study_json import study_document, trial_document

FILE_MOST, MEDIA_MOST = 3_000_000, 24_000_000  # bytes of one embedded file, and of all of them
DETAILED = 400  # trials with seeds and recipe in the page, the best first
MODULES = ("elements", "structure", "source", "output", "rows", "grid", "filters", "plots", "large", "gallery")
STYLES = ("style", "gallery")


class Embedded(NamedTuple):
    """What a page holds that would fetch it otherwise: text that is safe where it stands."""

    style: Markup
    data: Markup
    plotly: Markup
    script: Markup
    policy: str


def write_report(
    source: StudySource,
    path: Path | str,
    *,
    items: int = 12,
    pictures: Sequence[Picture] = (),
    title: str | None = None,
) -> Path:
    """Write a study as one self-contained HTML file: the pages of `gallery`, with as many outputs as 24 MB hold.

    Args:
        source: the study; where it is a `Remade`, the outputs that the first view shows are made if they have no file.
        path: where to; its folder is made.
        items: best outputs that the first view shows.
        pictures: made and put into it.
        title: of the page; the study's name if left out.

    Returns:
        The file.

    Raises:
        ArgumentError: the file cannot be written.
        GenerationError: the generator failed for an output that has to be made.
    """
    path, study = Path(path), source.read()
    best, apart = Compared(source, items).best(study)
    document = study_document(study, best, apart=apart, remade=isinstance(source, Remade))
    first = list(dict.fromkeys([*best, *document["draws"], *_seed_places(study, document)]))
    media = _media(study, source, first)
    document["kind"] = [
        kind if trial.number in media else "" for kind, trial in zip(document["kind"], study.trials, strict=True)
    ]
    document |= {
        "name": title or study.name,
        "pictures": [{"name": one.name, "title": one.title, "note": one.note} for one in pictures],
    }
    detailed = list(dict.fromkeys([*first, *study.ranking]))[:DETAILED]
    held = {
        "study": document,
        "trials": {study.trials[i].number: trial_document(study, i) for i in detailed},
        "figures": figure_documents([*study_figures(study), *source.figures()]),
        "media": media,
        "pictures": {one.name: _data_url("image/png", one.make()) for one in pictures},
    }
    page = templates.env.get_template("gallery.html").render(name=title or study.name, embedded=_embedded(held))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"path: {path} cannot be written ({error}).") from error
    return path


def _embedded(held: dict[str, Any]) -> Embedded:
    figures = bool(held["figures"])
    # What ends a script early inside a string of it would break the page.
    plotly = plotly_script().replace("</script", "<\\/script") if figures else ""
    script = bundle()
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode('ascii')}'"
        for one in (plotly, script)
    )
    policy = (
        "default-src 'none'; img-src data: blob:; media-src data:; connect-src data:; style-src 'unsafe-inline'; "
        f"base-uri 'none'; form-action 'none'; script-src {hashes}"
    )
    style = "\n".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in STYLES)
    data = json.dumps(held, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    safe = [_as_it_is(text) for text in (style, data, plotly, script)]
    return Embedded(safe[0], safe[1], safe[2], safe[3], policy)


def _as_it_is(text: str) -> Markup:
    """Text that is ours, or that has no tags: styles and scripts must not be escaped."""
    return Markup(text)  # noqa: S704


def bundle() -> str:
    """The scripts of the page as one, each behind those that it imports."""
    parts = []
    for name in MODULES:
        source = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        source = re.sub(r"^import .*\n", "", source, flags=re.MULTILINE)
        parts.append(re.sub(r"^export ", "", source, flags=re.MULTILINE))
    return "\n".join(parts)


def _media(study: ShownStudy, source: StudySource, first: Sequence[int]) -> dict[int, str]:
    """Files of outputs as data, by the numbers of their trials: the first view, then the best while there is room.

    Of the first view's only, what lacks is made again.
    """
    media, room = dict[int, str](), MEDIA_MOST
    for place in dict.fromkeys([*first, *study.ranking, *range(len(study.trials))]):
        trial = study.trials[place]
        if not trial.file and place not in first:
            continue
        found = source.preview(trial.number)
        if found is None or len(found.content) > min(FILE_MOST, room):
            continue
        room -= len(found.content)
        media[trial.number] = _data_url(mime_of(found.name), found.content)
    return media


def _data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _seed_places(study: ShownStudy, document: dict[str, Any]) -> Iterable[int]:
    places = {trial.number: i for i, trial in enumerate(study.trials)}
    return [places[seed["trial"]] for seed in document["seeds"] if seed["trial"] in places]
