"""Reading back what `save_preview` wrote, to compare outputs without making them again: pictures and sound."""

from __future__ import annotations

import io
import wave
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from surrogate_ax.errors import UnsupportedError
from surrogate_ax.media.previews import pillow


class Preview(NamedTuple):
    """An output as a file to look at.

    Args:
        name: of the file; its suffix says the kind, as `save_preview` chose it.
        content: its bytes.
    """

    name: str
    content: bytes


def open_preview(preview: Preview) -> tuple[Any, float | None]:
    """The output that a file shows, and its rate: a picture of Pillow's, or sound (S, C) in [-1, 1].

    Raises:
        UnsupportedError: another kind of file, or one that cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    suffix = PurePath(preview.name).suffix.lower()
    try:
        if suffix in (".png", ".webp", ".jpg"):
            return pillow().open(io.BytesIO(preview.content)).convert("RGB"), None
        if suffix == ".wav":
            with wave.open(io.BytesIO(preview.content)) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
                return samples.reshape(-1, sound.getnchannels()) / 32768, float(sound.getframerate())
    except (OSError, ValueError, EOFError, wave.Error) as error:
        raise UnsupportedError(f"preview: {preview.name} cannot be read ({error}).") from error
    raise UnsupportedError(f"preview: expected a picture or sound, got {preview.name}.")
