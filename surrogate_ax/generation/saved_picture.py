"""Saved outputs that carry what remakes them: a text chunk in a PNG, a JSON file beside anything else.

The record is JSON: the recipe, and what made the output in a user's words: the embedded model or a pipeline's name, and
the call. It comes from outside, from whoever sent the picture. So its size and every type in it are checked before
anything is done with it, pixels are not decoded, and nothing that it names is opened or imported: who has the picture
says where the model is.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surrogate_ax.checks import is_storable, mapping, show, text
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.media.previews import pillow, png_text, save_preview

KEY = "surrogate-ax"  # of the text chunk
LARGEST, LONGEST = 64 << 20, 1 << 20  # bytes of a file, characters of a record
MOST_TERMS, MOST_CALL, LONGEST_TEXT = 20_000, 64, 20_000
PNG = b"\x89PNG\r\n\x1a\n"
HEADER = len(PNG) + 4 + 4 + 13 + 4  # bytes up to the end of the first chunk, which gives the size
_ADVICE = "Expected a picture that surrogate-ax saved, or the JSON file beside it"


@dataclass(frozen=True)
class SavedPicture:
    """What a saved output carries.

    Args:
        recipe: what remakes it.
        source: what made it: "embedded", or a name to show; never opened.
        call: the generator's call arguments.
    """

    recipe: Recipe
    source: str = ""
    call: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return {"recipe": self.recipe.to_json(), "source": self.source, "call": dict(self.call)}

    @property
    def note(self) -> tuple[str, str]:
        """Keyword and text of the chunk that a PNG has it in."""
        return KEY, json.dumps(self.to_json())

    @classmethod
    def from_json(cls, record: Any) -> SavedPicture:
        """The inverse of `to_json`; further keys are passed over, and the recipe may be a JSON text, as in tables.

        Raises:
            ArgumentError: something else.
        """
        given = mapping(record, "picture: its record")
        found = given.get("recipe")
        recipe = mapping(
            _parsed(found, "it carries a recipe") if isinstance(found, str) else found, "picture: its recipe"
        )
        terms = recipe.get("terms")
        if isinstance(terms, list) and len(terms) > MOST_TERMS:
            raise ArgumentError(f"picture: expected a recipe of at most {MOST_TERMS:,} seeds, got {len(terms):,}.")
        call = mapping(given.get("call", {}), "picture: its call")
        if len(call) > MOST_CALL:
            raise ArgumentError(f"picture: expected a call of at most {MOST_CALL} arguments, got {len(call)}.")
        for name, value in call.items():
            if not name.isidentifier() or not isinstance(value, str | int | float | None):
                raise ArgumentError(f"picture: expected texts and numbers as call arguments, got {name}={show(value)}.")
            if isinstance(value, str) and len(value) > LONGEST_TEXT:
                raise ArgumentError(f"picture: expected short call arguments, got {name} of {len(value)} characters.")
        return cls(Recipe.from_json(recipe), text(given.get("source", ""), "picture: its source")[:LONGEST_TEXT], call)


def save_picture(output: Any, path: Path | str, saved: SavedPicture, *, rate: float | None = None) -> Path:
    """Write an output at its own size, with what remakes it inside (PNG) or beside it (.json).

    Args:
        output: an image, a clip, sound or a structure.
        path: where to; the suffix becomes that of the kind.
        saved: what remakes it.
        rate: samples or frames a second.

    Returns:
        The file of the output.

    Raises:
        UnsupportedError: none of the kinds.
        MissingExtraError: what writes this kind is not installed.
    """
    note = saved.note
    file = save_preview(output, path, rate=rate, full=True, note=note)
    if file.suffix != ".png":
        file.with_suffix(".json").write_text(note[1] + "\n", encoding="utf-8")
    return file


def carrying(content: bytes, saved: SavedPicture) -> bytes:
    """A PNG with what remakes it: its pixels stay as they are.

    Args:
        content: of a PNG file that carries nothing of ours yet.
        saved: what remakes it.

    Raises:
        ArgumentError: not a PNG.
    """
    if not content.startswith(PNG) or content[12:16] != b"IHDR":
        raise ArgumentError(f"picture: expected a PNG file, got {show(content[:16])}.")
    chunks = b"".join(_chunk(*chunk[:2]) for chunk in png_text(*saved.note).chunks)
    return content[:HEADER] + chunks + content[HEADER:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Length, kind, content and check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def read_saved(path: Path | str) -> SavedPicture:
    """What a file carries, or the JSON file beside it.

    Raises:
        ArgumentError: no such file, or nothing of ours in it.
    """
    path = Path(path)
    try:
        beside = path.with_suffix(".json")
        given = path if path.suffix.lower() == ".png" or not beside.is_file() else beside
        if given.stat().st_size > LARGEST:
            raise ArgumentError(f"picture: {given} has {given.stat().st_size:,} bytes, more than {LARGEST:,}.")
        content = given.read_bytes()
        if given is path and not _record_of(content) and beside.is_file():
            content = beside.read_bytes()
    except OSError as error:
        raise ArgumentError(f"picture: {path} cannot be read ({error}).") from error
    return saved_in(content, str(path))


def saved_in(content: bytes, name: str) -> SavedPicture:
    """What the bytes of a file carry.

    Args:
        content: of a PNG or a JSON file.
        name: of the file, for messages.

    Raises:
        ArgumentError: nothing of ours in it.
    """
    record = _record_of(content)
    if not record:
        raise ArgumentError(f"picture: {name} carries no recipe. {_ADVICE}.")
    return SavedPicture.from_json(_parsed(record, f"{name} carries a record"))


def _record_of(content: bytes) -> str:
    """The record in a file, empty where there is none."""
    if len(content) > LARGEST:
        raise ArgumentError(f"picture: expected at most {LARGEST:,} bytes, got {len(content):,}.")
    if content.startswith(PNG):
        found = _chunks(content).get(KEY, "")
        record = found if isinstance(found, str) else ""
    else:
        record = content[: LONGEST + 1].decode("utf-8", "replace") if content.lstrip()[:1] == b"{" else ""
    if len(record) > LONGEST or not is_storable(record):
        raise ArgumentError(f"picture: expected a record of at most {LONGEST:,} characters without zero bytes.")
    return record


def _chunks(content: bytes) -> Mapping[str, Any]:
    """The texts of a PNG, which Pillow keeps from growing when they are unpacked."""
    image_module = pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many pixels, which are not decoded
        try:
            with image_module.open(io.BytesIO(content), formats=("PNG",)) as image:
                return dict(image.info)  # `text` would decode the pixels
        except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
            raise ArgumentError(f"picture: the PNG file cannot be read ({error}). {_ADVICE}.") from error


def _parsed(record: str, what: str) -> Any:
    try:
        return json.loads(record, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"picture: {what} that was altered ({error}). {_ADVICE}.") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of a recipe")
