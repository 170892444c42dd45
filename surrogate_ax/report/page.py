"""One HTML file about a search: self-contained, no remote resources, everything from outside escaped.

A host supplies what it knows of its trials (`Entry`) and sections of its own, with Plotly figures if it likes; they
share one plotly.js. A content security policy in the page allows its own scripts, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from surrogate_ax.errors import ArgumentError

PAGE_MOST = 6_000_000  # bytes without embedded media
MEDIA_MOST = 3_000_000  # bytes of one embedded file
ITEMS = 30  # embedded files, at most
MIME = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".pdb": "chemical/x-pdb",
    ".cif": "chemical/x-cif",
}


@dataclass(frozen=True)
class Figure:
    """A Plotly figure.

    Args:
        title: above it.
        note: below the title, in small print.
        plotly: the figure as Plotly's JSON, {"data": [...], "layout": {...}}.
    """

    title: str
    note: str
    plotly: str


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        title: its heading.
        html: its body, made by functions of this package: what comes from outside must be escaped in it.
        figures: behind the body.
        media: bytes of the body that are embedded files, which the limit of a page does not count.
    """

    title: str
    html: str = ""
    figures: Sequence[Figure] = ()
    media: int = 0


def write_page(
    path: Path | str, *, title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], plotly: str = ""
) -> Path:
    """Write sections as one HTML file.

    Args:
        path: where to; its folder is made.
        title: of the page.
        facts: names and values at the top.
        sections: in order.
        plotly: source of plotly.js, where sections have figures.

    Returns:
        The file.

    Raises:
        ArgumentError: the page would be too large, or the file cannot be written.
    """
    path, scripts = Path(path), list[str]()
    if any(section.figures for section in sections):
        # What ends a script early inside a string of it would break the page.
        scripts = [plotly.replace("</script", "<\\/script"), DRAW]
    room = PAGE_MOST - sum(len(script.encode()) for script in scripts)
    bodies, media = list[str](), sum(section.media for section in sections)
    for section in sections:
        body = f"<section><h2>{escape(section.title)}</h2>{section.html}"
        room -= len(body.encode()) - section.media
        figures, room = _figures(section.figures, room, number=len(bodies))
        bodies.append(body + figures + "</section>")
    page = _page(title, facts, bodies, scripts)
    if len(page.encode()) - media > PAGE_MOST:
        raise ArgumentError(
            f"sections: a report has at most {PAGE_MOST:,} bytes beside its media, got {len(page.encode()) - media:,}. "
            "Leave some out."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"path: {path} cannot be written ({error}).") from error
    return path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of text, escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def embedded(file: Path) -> str | None:
    """A picture, player or download of a file, its bytes inside; None for one that is too large or of no known kind."""
    kind = MIME.get(file.suffix.lower())
    if kind is None or not file.is_file() or file.stat().st_size > MEDIA_MOST:
        return None
    source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
    family = kind.split("/", maxsplit=1)[0]
    if family == "image":
        return f'<img alt="{escape(file.stem)}" src="{source}">'
    if family in ("video", "audio"):
        return f'<{family} controls loop src="{source}"></{family}>'
    return f'<a download="{escape(file.name)}" href="{source}">{escape(file.name)}</a>'


def _figures(figures: Sequence[Figure], room: int, *, number: int) -> tuple[str, int]:
    """Figures as HTML while there is room, the names of those left out, and the room that remains."""
    parts, left_out = list[str](), list[str]()
    for i, figure in enumerate(figures):
        name, note = f"plot{number}-{i}", f"<p>{escape(figure.note)}</p>" if figure.note else ""
        content = json.dumps(json.loads(figure.plotly), separators=(",", ":")).replace("<", "\\u003c")
        part = (
            f"<h3>{escape(figure.title)}</h3>{note}"
            f'<div class="plotly" data-figure="{name}"></div>'
            f'<script type="application/json" id="{name}">{content}</script>'
        )
        if len(part.encode()) > room - 100_000:
            left_out.append(figure.title)
            continue
        room -= len(part.encode())
        parts.append(part)
    if left_out:
        parts.append(f"<p>Left out, to keep the page small: {escape(', '.join(left_out))}.</p>")
    return "".join(parts), room


def _page(title: str, facts: Sequence[tuple[str, str]], bodies: Sequence[str], scripts: Sequence[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'" for script in scripts
    )
    policy = (
        "default-src 'none'; img-src data: blob:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src {hashes or chr(39) + 'none' + chr(39)}"
    )
    described = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
            f"<h1>{escape(title)}</h1><dl>{described}</dl>",
            *bodies,
            "</main>",
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>",
        ]
    )


DRAW = """
for (const place of document.querySelectorAll(".plotly")) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const layout = Object.assign({}, figure.layout, {autosize: true, width: undefined});
  Plotly.newPlot(place, figure.data, layout, {responsive: true, displaylogo: false});
}
"""
STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f6f7f9; color: #1d232b; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 8px 0; }
h2 { font-size: 19px; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 20px 0 2px; }
p { margin: 2px 0 10px; color: #4b5563; }
section { background: #fff; border: 1px solid #e3e6ea; border-radius: 8px; padding: 18px 20px; margin: 16px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: #6b7280; } dd { margin: 0; overflow-wrap: anywhere; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px; }
figure { margin: 0; }
figure img, figure video { width: 100%; image-rendering: pixelated; border-radius: 6px; background: #eee; }
figure audio { width: 100%; } figcaption { font-size: 12.5px; color: #4b5563; overflow-wrap: anywhere; }
figcaption b { color: #1d232b; }
.plot { width: 100%; height: auto; max-width: 860px; display: block; }
.plot .grid { stroke: #e6e8ec; }
.plot .tick { font-size: 12px; fill: #6b7280; }
.plot .axis { font-size: 13px; fill: #374151; }
.plotly { min-height: 420px; overflow-x: auto; }
.scroll { overflow-x: auto; max-height: 420px; } table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid #eceef1; white-space: nowrap; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; background: #f6f7f9; padding: 10px; }
summary { cursor: pointer; }
"""
