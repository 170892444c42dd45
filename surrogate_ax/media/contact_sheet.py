"""One picture that shows rows of outputs under a heading, to be looked at at full size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surrogate_ax.media.previews import pillow, to_image

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

TILE = 144  # pixels of one output's side: 9 for each of an avatar's 16
GAP = 14
MARGIN = 32
INK, SOFT, RULE, PAPER = "#1c1e21", "#5c6269", "#dcdfe3", "#ffffff"
_TITLE, _HEAD, _TEXT = 30, 21, 17  # font sizes


@dataclass(frozen=True)
class Row:
    """Outputs that belong together.

    Args:
        title: what they are.
        note: what it cost to find them, in smaller type after the title.
        images: the outputs, best first.
        captions: one short text for each.
    """

    title: str
    note: str
    images: Sequence[Any]
    captions: Sequence[str]


def contact_sheet(
    title: str, facts: Mapping[str, str], rows: Sequence[Row], *, palette: Mapping[str, float] | None = None
) -> Image.Image:
    """Draw a heading and rows of outputs.

    Args:
        title: the heading.
        facts: short texts under it, by their label.
        rows: the outputs; the widest row sets the width.
        palette: colours "#rrggbb" and their shares, shown as one bar after the facts.

    Returns:
        The sheet, RGB.

    Raises:
        UnsupportedError: an output that is not an image.
        MissingExtraError: Pillow is not installed.
    """
    image_module = pillow()
    from PIL import ImageDraw

    columns = max(len(row.images) for row in rows)
    width = max(2 * MARGIN + columns * TILE + (columns - 1) * GAP, _needed(title, facts, rows))
    line, row_height = _TEXT + 11, _HEAD + 16 + TILE + _TEXT + 30
    top = MARGIN + _TITLE + 18
    sheet = image_module.new(
        "RGB", (width, top + line * len(facts) + 14 + (30 if palette else 0) + row_height * len(rows) + 14), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=_font(_TITLE))
    indent = MARGIN + round(max(_font(_TEXT).getlength(label) for label in (*facts, "Palette"))) + 18
    for label, fact in facts.items():
        draw.text((MARGIN, top), label, fill=SOFT, font=_font(_TEXT))
        draw.text((indent, top), fact, fill=INK, font=_font(_TEXT))
        top += line
    if palette:
        draw.text((MARGIN, top), "Palette", fill=SOFT, font=_font(_TEXT))
        _draw_palette(draw, palette, (indent, top, indent + 360, top + _TEXT + 5))
        top += 30
    top += 14
    for row in rows:
        _draw_row(sheet, draw, row, top)
        top += row_height
    return sheet  # type: ignore[no-any-return]


def wrapped(images: Sequence[Any], captions: Sequence[str], *, across: int = 6) -> list[Row]:
    """Rows of so many outputs each, named by their places.

    Args:
        images: the outputs, best first.
        captions: one short text for each.
        across: outputs in a row.
    """
    rows = []
    for start in range(0, len(images), across):
        end = min(start + across, len(images))
        title = f"{start + 1} to {end}" if end > start + 1 else f"{end}"
        rows.append(Row(title, "", images[start:end], captions[start:end]))
    return rows


def fitted(image: Image.Image, side: int) -> Image.Image:
    """A picture in its own proportions whose longer side is so many pixels; tiny ones keep their pixels' edges."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    sampling = pillow().Resampling
    return image.resize(size, sampling.NEAREST if scale >= 4 else sampling.LANCZOS)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    draw.line((MARGIN, top - 4, sheet.width - MARGIN, top - 4), fill=RULE)
    draw.text((MARGIN, top + 8), row.title, fill=INK, font=_font(_HEAD))
    after = MARGIN + _font(_HEAD).getlength(row.title) + 14
    draw.text((after, top + 8 + _HEAD - _TEXT), row.note, fill=SOFT, font=_font(_TEXT))
    top += _HEAD + 22
    for i, (image, caption) in enumerate(zip(row.images, row.captions, strict=True)):
        left = MARGIN + i * (TILE + GAP)
        tile = fitted(to_image(image), TILE)
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        draw.text((left + TILE / 2, top + TILE + 6), caption, fill=SOFT, font=_font(_TEXT), anchor="ma")


def _draw_palette(draw: ImageDraw.ImageDraw, palette: Mapping[str, float], box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    scale, start = (right - left) / sum(palette.values()), float(left)
    for colour, share in palette.items():
        draw.rectangle((round(start), top, round(start + share * scale) - 1, bottom), fill=colour)
        start += share * scale
    draw.rectangle((left - 1, top - 1, right, bottom + 1), outline=RULE)


def _needed(title: str, facts: Mapping[str, str], rows: Sequence[Row]) -> int:
    """Least width at which no text is cut."""
    text = _font(_TEXT).getlength
    lengths: list[float] = [_font(_TITLE).getlength(title), 500.0]
    lengths += [160 + text(fact) for fact in facts.values()]
    lengths += [_font(_HEAD).getlength(row.title) + 14 + text(row.note) for row in rows]
    return round(max(lengths)) + 2 * MARGIN


def _font(size: int) -> Any:

    from PIL import ImageFont

    return ImageFont.load_default(size=size)
