"""How a command speaks: results to standard output, progress and what went wrong to standard error, one exit code.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from surrogate_ax_cli.interrupts import INTERRUPTED

FAILED, BAD_INPUT = 1, 2
GOES_ON = "interrupted: what was evaluated is kept; the same command goes on from there"
LOG_FILE = "log.txt"
OURS = "surrogate_ax"  # the one name that everything of ours logs under
_TIMES = "%(asctime)s %(levelname)s %(message)s"


def say(text: str) -> None:
    """Print a line to standard error, above a progress bar if there is one."""
    with suppress(OSError):  # a terminal that is gone must not keep a search from ending as it should
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            typer.echo(text, err=True)


@contextmanager
def running(*, verbose: bool = False, interrupted: str = GOES_ON) -> Iterator[None]:
    """Run a command: its errors end it with a line and an exit code, and libraries say what matters only.

    Args:
        verbose: show what is logged below a warning, and tracebacks.
        interrupted: said after Ctrl-C.
    """
    with _errors_reported(verbose, interrupted), _said(verbose), _libraries_quiet():
        yield


@contextmanager
def log_beside(home: Path) -> Iterator[None]:
    """Log to a file in a study's folder too, with the traceback of every failure.

    Args:
        home: made if it is not there; where it cannot be, the search goes on without a log.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = _LogFile(home / LOG_FILE, encoding="utf-8", delay=True)
    except OSError as error:
        say(f"warning: no log is kept: {error}")
        yield
        return
    handler.setFormatter(logging.Formatter(_TIMES))
    with _handling(handler):
        yield


class _LogFile(logging.FileHandler):
    """A file that stops being written where that fails, as on a full disk: a log is not worth a search."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        self.setLevel(logging.CRITICAL + 1)
        say(f"warning: {self.baseFilename} is not written any more: {sys.exception()}")


class _Speaker(logging.Handler):
    """Log lines as what a command says."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


class _Spoken(logging.Formatter):
    """A line, with its level where that is a warning or more, and a traceback where there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return level + record.getMessage()

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's own name
        """The traceback from the user's own code on, which ours has called."""
        from surrogate_ax.scoring.traces import is_ours

        found = traceback.TracebackException(*ei)
        theirs = [frame for frame in found.stack if not is_ours(frame.filename)]
        found.stack = traceback.StackSummary.from_list(theirs or found.stack)
        return "".join(found.format()).rstrip()


@contextmanager
def _said(verbose: bool) -> Iterator[None]:
    handler = _Speaker(logging.INFO if verbose else logging.WARNING)
    handler.setFormatter(_Spoken())
    with _handling(handler):
        yield


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear what we log, from INFO on."""
    logger = logging.getLogger(OURS)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _libraries_quiet() -> Iterator[None]:
    """Show warnings as one line each, and no log lines of libraries below a warning."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns of packages that are not needed
    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    with optuna_quiet():
        warnings.showwarning = lambda message, *_: say(f"warning: {message}")
        yield


@contextmanager
def optuna_quiet() -> Iterator[None]:
    """No log lines of Optuna's, and no warnings that it calls its artifacts and plots experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def quiet_ax() -> None:
    """Import Ax without its log lines, and let it say from now on what is a warning; none of what it stands on."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        import_module("surrogate_ax_platform")
    finally:
        logging.disable(before)
    for handler in logging.getLogger("ax").handlers:
        handler.setLevel(logging.WARNING)
    for library in ("ax", "botorch", "gpytorch", "linear_operator"):
        warnings.filterwarnings("ignore", module=rf"{library}\..*")


@contextmanager
def _errors_reported(verbose: bool, interrupted: str) -> Iterator[None]:
    """End expected errors with one line on standard error and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\n{interrupted}")
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit as error:  # a sweep must not end as if it were done
        from surrogate_ax.scoring.traces import origin, trace_of

        say(f"error: generator or score called sys.exit({error.code!r}) ({origin(trace_of(error))}). Raise an error.")
        raise typer.Exit(FAILED) from None
    except Exception as error:
        from surrogate_ax.errors import SurrogateError, UnsupportedError
        from surrogate_ax.scoring.traces import trace_of

        if not isinstance(error, SurrogateError | OSError):
            raise
        say(f"{trace_of(error)}\nerror: {error}" if verbose else f"error: {error}")
        raise typer.Exit(BAD_INPUT if isinstance(error, ValueError | UnsupportedError) else FAILED) from None
