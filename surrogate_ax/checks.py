"""Values from outside, checked for what they are: arguments, and what files and studies have stored.

Each check gives the value in its plain type, or says what was expected, what was given and where it stands.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, SupportsFloat

from surrogate_ax.errors import ArgumentError

MOST = 2**63 - 1  # of whole numbers: what databases hold


def show(value: object) -> str:
    """A value in a message, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of numbers with thousands of digits, which Python does not print
        return f"a {type(value).__name__} that is too long to print"
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def whole(value: object, name: str, *, least: int = -MOST, most: int = MOST) -> int:
    """A whole number.

    Args:
        value: given.
        name: what it is, for the message.
        least: limit.
        most: limit.

    Raises:
        ArgumentError: another type, or outside the limits.
    """
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else _index(value)
    if number is None or not least <= number <= most:
        above = f" of at least {least}" if least > -MOST else ""
        below = f" and at most {most:,}" if above else f" of at most {most:,}"
        limits = above + (below if most < MOST or (number is not None and number > most) else "")
        raise ArgumentError(f"{name}: expected a whole number{limits}, got {show(value)}.")
    return number


def number(value: object, name: str, *, finite: bool = True) -> float:
    """A real number as a float.

    Args:
        value: given.
        name: what it is, for the message.
        finite: whether NaN and infinity are refused.

    Raises:
        ArgumentError: another type, not finite, or too large for a float.
    """
    if type(value) is float and (math.isfinite(value) or not finite):
        return value  # as nearly all are, of which a study has thousands
    try:
        if isinstance(value, bool | str | bytes) or not isinstance(value, SupportsFloat):
            raise TypeError
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        read = math.nan
        finite = True
    if finite and not math.isfinite(read):
        raise ArgumentError(f"{name}: expected a finite number, got {show(value)}.")
    return read


def text(value: object, name: str) -> str:
    """A text that files and databases can hold.

    Args:
        value: given.
        name: what it is, for the message.

    Raises:
        ArgumentError: another type, a zero byte, or half a character (a lone surrogate).
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name}: expected a text, got {show(value)}.")
    if not is_storable(value):
        raise ArgumentError(f"{name}: expected a text of whole characters without zero bytes, got {show(value)}.")
    return value


def is_storable(given: str) -> bool:
    """Whether files and databases can hold a text."""
    return "\0" not in given and not any("\ud800" <= letter <= "\udfff" for letter in given)


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """A mapping by names.

    Args:
        value: given.
        name: what it is, for the message.

    Raises:
        ArgumentError: another type, or other keys than texts.
    """
    if type(value) is dict and set(map(type, value)) <= {str}:
        return value  # as nearly all are, of which a study has thousands
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ArgumentError(f"{name}: expected values by name, got {show(value)}.")
    return value


def _index(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:  # an array of several
        return None
