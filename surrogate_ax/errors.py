"""Every error the package raises on purpose.

Each message says what was wrong, what was expected, what was given and what to do. All of them derive from
`SurrogateError`; those about a wrong argument are also `ValueError`s, so that ordinary handlers see them.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = _ROOT if (_ROOT / "pyproject.toml").is_file() else None  # where this package runs from one
MOST = 10_000_000  # trials of a search and items of a batch: what is more was not meant, and would never end


class SurrogateError(Exception):
    """Base of every error raised by surrogate-ax."""


class ArgumentError(SurrogateError, ValueError):
    """An argument is out of its range, of the wrong kind, or contradicts another one."""


class ShapeError(ArgumentError):
    """An array or tensor has the wrong shape; the message gives both, in symbols and numbers."""


class SeedError(ArgumentError):
    """Seeds unlike independent draws from the prior, or whose rows are missing, damaged or not finite."""


class MissingSeedError(SeedError, KeyError):
    """A store of seeds does not have the one that was asked for; a `KeyError` too, since stores are mappings."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class ScoreError(SurrogateError, ValueError):
    """A score function returned something that its objective does not declare."""


class ScoreProcessError(SurrogateError, RuntimeError):
    """A score that runs in a process of its own raised an error there, or ended the process."""


class ScoreTimeoutError(ScoreProcessError, TimeoutError):
    """A score that runs in a process of its own took too long, and its process was killed."""


class MismatchError(SurrogateError, ValueError):
    """A study, recipe or saved space was made with another generator, prior, bank or objective."""


class UnsupportedError(SurrogateError, TypeError):
    """A generator, scheduler or output lacks the ability that a call needs."""


class GenerationError(SurrogateError, RuntimeError):
    """The generator or the score failed for every item, so that going on is pointless."""


class StorageError(SurrogateError, OSError):
    """What was found could not be written down: a full disk, a folder that is read-only, a server that is gone."""


class MissingExtraError(SurrogateError, ImportError):
    """An optional package is needed and not installed; the message names the extra that brings it.

    Args:
        message: with `pip install 'surrogate-ax[EXTRA]'`; in a checkout, which an index need not know, the checkout is
            named in its place.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.replace("'surrogate-ax[", f"-e '{CHECKOUT}[") if CHECKOUT else message)


def check_counts(**counts: int) -> None:
    """Refuse counts that are no whole numbers from 1 to `MOST`.

    Args:
        **counts: by the name of their argument.

    Raises:
        ArgumentError: a count that is none.
    """
    for name, count in counts.items():
        given: object = count
        if isinstance(given, bool) or not hasattr(given, "__index__"):
            raise ArgumentError(f"{name}: expected a whole number, got {given!r}.")
        if count < 1:
            raise ArgumentError(f"{name}: expected at least 1, got {count}.")
        if count > MOST:
            raise ArgumentError(f"{name}: expected at most {MOST:,}, got more.")
