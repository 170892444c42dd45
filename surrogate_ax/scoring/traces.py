"""Where an error of the user's code was raised: tracebacks kept as text, which hold no tensors and travel anywhere."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from pathlib import Path

_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+)', re.MULTILINE)
_OURS = str(Path(__file__).parents[1])  # the package


def trace_of(error: BaseException) -> str:
    """The traceback of an error, with those that led to it."""
    return "".join(traceback.format_exception(error))


def origin(trace: str) -> str:
    """File and line of the last frame of the user's own code, or of a library's where there is none; else nothing.

    Args:
        trace: of `trace_of`.
    """
    frames = [(match["file"], match["line"]) for match in _FRAME.finditer(trace)]
    others = [frame for frame in frames if not is_ours(frame[0])]
    libraries = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    own = [(file, line) for file, line in others if "site-packages" not in file and not file.startswith(libraries)]
    found = own or others
    return f"{found[-1][0]}, line {found[-1][1]}" if found else ""


def is_ours(file: str) -> bool:
    """Whether a file of a traceback is of the core, which calls the user's code."""
    return file.startswith(_OURS + os.sep)
