"""Where commands write: beside the study, under a name that is free, or where they were told."""

from __future__ import annotations

import itertools
from pathlib import Path

from surrogate_ax.errors import ArgumentError


def place(given: Path | None, default: Path, *, replace: bool = False) -> Path:
    """A path to write to; what is there stays, unless it is asked for.

    Args:
        given: `--out`; None takes the default, or the first of default-2, default-3, ... that is free.
        default: a file or folder beside the study.
        replace: `--force`.

    Raises:
        ArgumentError: something is at the given path already.
    """
    if given is None:
        return default if replace else next(path for path in _numbered(default) if _is_free(path))
    if not replace and not _is_free(given):
        raise ArgumentError(f"--out: {given} is there already. Name another place, or replace it with --force.")
    return given


def check_replaced(out: Path, index: str, command: str) -> None:
    """Refuse a folder that holds anything but what a command wrote before, which is to be replaced.

    Args:
        out: the folder.
        index: the file by which one of the command's is known.
        command: its name.

    Raises:
        ArgumentError: a file, or a folder with files and no such file among them.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / index).is_file())):
        raise ArgumentError(
            f"--out: expected a new folder, or one of an earlier `{command}`, got {out}. Choose another."
        )


def _numbered(path: Path) -> itertools.chain[Path]:
    others = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return itertools.chain([path], others)


def _is_free(path: Path) -> bool:
    """Whether nothing is there that could get lost."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))
