"""The ready judge of a sweep file: `score: clip("red hair", weights="models/clip")`.

Written as a call, and read as data: texts and two keywords, nothing that runs.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from surrogate_ax.errors import ArgumentError

EXPECTED = 'clip("what outputs should be like", weights="folder")'


@dataclass(frozen=True)
class ClipCall:
    """What a score of CLIP's is told.

    Args:
        texts: what outputs should be like.
        weights: the folder of the model, beside the sweep file.
        device: where it computes.
    """

    texts: tuple[str, ...]
    weights: str = "clip"
    device: str = "cpu"


def is_clip_call(text: str) -> bool:
    """Whether a score is meant to be this judge."""
    return text.replace(" ", "").startswith("clip(")


def read_clip_call(text: str) -> ClipCall:
    """The call that a text writes.

    Raises:
        ArgumentError: anything but texts and the keywords `weights` and `device`.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ArgumentError(f"expected {EXPECTED}, got {text!r:.100} ({error}).") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "clip":
        raise ArgumentError(f"expected {EXPECTED}, got {text!r:.100}.")
    given = {word.arg: word.value for word in call.keywords}
    values = [*call.args, *given.values()]
    texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    if not call.args or len(texts) < len(values) or not all(texts) or not set(given) <= {"weights", "device"}:
        raise ArgumentError(f"expected {EXPECTED}, with texts in quotes, got {text!r:.100}.")
    named = dict(zip(map(str, given), texts[len(call.args) :], strict=True))
    return ClipCall(tuple(texts[: len(call.args)]), **named)
