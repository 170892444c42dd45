"""A score in a process of its own, which may be slow, hang or crash.

Outputs and conditions travel as JSON and plain arrays, never as pickles: arrays, tensors, PIL images, `Structure`s,
texts, numbers, and lists and mappings of these. Everything else is refused; so is a function without a name that can be
imported, such as a lambda. Values come back as float64 arrays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from surrogate_ax.arrays import Array
from surrogate_ax.checks import number
from surrogate_ax.errors import ArgumentError, ScoreError, ScoreProcessError, ScoreTimeoutError
from surrogate_ax.scoring import process_keeper, process_worker
from surrogate_ax.scoring.packing import pack
from surrogate_ax.scoring.process_worker import Message, receive, send

START = 600.0  # seconds that importing the function may take


class SubprocessScore:
    """A score function, called in a process of its own that is killed when it takes too long.

    The process starts at once, so that a function that cannot be imported is refused at once, and again after it was
    killed or crashed. Programs that the score starts are killed with it: on Linux also those in sessions of their own,
    elsewhere those of its group of processes. Ctrl-C reaches the caller only. What the score prints goes to standard
    error. Calls come one at a time; the state of the function's module is kept between them.

    An item whose score takes too long, crashes the process or raises fails alone, as an `Evaluator` sees to.

    Args:
        function: "package.module:function", called as `function(outputs, conditions)` like any score.
        timeout: seconds that the score of one output may take; a call with n outputs may take n times as long.
        folder: where modules are looked for first, before the caller's own `sys.path`.

    Raises:
        ArgumentError: a function that is not named like that or cannot be imported, or a timeout that is not positive.

    Example:
        with SubprocessScore("scores:docking", timeout=60) as score:
            optimize(study, generator, Objective(Metric("energy", "minimize"), score=score), ...)
    """

    def __init__(self, function: str, *, timeout: float | None = None, folder: Path | str | None = None) -> None:
        module, _, name = str(function).partition(":")  # a function itself has no such name
        if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
            raise ArgumentError(
                f"function: expected 'package.module:function', which another process can import, got {function!r}."
            )
        if timeout is not None and not 0 < number(timeout, "timeout", finite=False) < float("inf"):
            raise ArgumentError(f"timeout: expected a positive number of seconds, or None, got {timeout}.")
        self._function = function
        self._timeout = timeout
        self._folder = [] if folder is None else [str(Path(folder).resolve())]
        self._lock = threading.Lock()  # held while a call runs
        self._process: subprocess.Popen[bytes] | None = None
        self._finalize: Any = None
        self._closed = False
        self._start()

    def __call__(self, outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> Any:
        """Score n outputs.

        Returns:
            What the function returned, as a float64 array or a mapping of such.

        Raises:
            ScoreProcessError: the function raised, or its process ended.
            ScoreTimeoutError: it took too long.
            ScoreError: it returned something else than numbers.
            UnsupportedError: outputs or conditions that cannot travel.
            ArgumentError: it was closed.
        """
        arrays: list[Array] = []
        message = {"outputs": pack(outputs, arrays), "conditions": pack(list(conditions), arrays)}
        with self._lock:
            if self._closed:
                raise ArgumentError("score: it was closed. Make another SubprocessScore.")
            if self._process is None or self._process.poll() is not None:
                self._start()
            limit = None if self._timeout is None else self._timeout * len(conditions)
            reply, values = self._ask(message, arrays, [START, limit])
            if not reply.keys() & {"values", "raised", "unfit"}:
                self._end()
                raise ScoreProcessError("what its process answered is no message; something else wrote it")
        if "raised" in reply:
            raise ScoreProcessError(reply["raised"]) from RuntimeError(reply["trace"])
        if "unfit" in reply:
            raise ScoreError(f"score: expected n = {len(conditions)} numbers for each metric, got {reply['unfit']}.")
        return values[0] if reply["values"] is None else dict(zip(reply["values"], values, strict=True))

    def close(self) -> None:
        """End the process for good, in the middle of a call if one is running in another thread."""
        self._closed = True
        process = self._process
        if process is not None and self._lock.locked():
            _kill(process)
        with self._lock:
            self._end()

    def __enter__(self) -> SubprocessScore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._end()
        self._process = subprocess.Popen(  # noqa: S603  this interpreter, on a file of this package
            [sys.executable, process_keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._finalize = weakref.finalize(self, _abandon, self._process, self._lock)
        path = [*self._folder, *sys.path]
        reply, _ = self._ask({"function": self._function, "path": path}, [], [START])
        if "unfit" in reply:
            self._end()
            raise ArgumentError(
                f"score: {self._function!r} cannot be imported: {reply['unfit']}. Searched: "
                f"{', '.join(dict.fromkeys(part or str(Path.cwd()) for part in path))}."
            ) from RuntimeError(reply["trace"])

    def _ask(
        self, message: Message, arrays: Sequence[Array], limits: Sequence[float | None]
    ) -> tuple[Message, list[Array]]:
        """The last reply to a message, each within its limit; whatever breaks in ends the process, out of step then."""
        process = cast("subprocess.Popen[bytes]", self._process)
        expired = threading.Event()
        reply: tuple[Message, list[Array]] = {}, []
        try:
            send(cast(BinaryIO, process.stdin), message, arrays)
            for limit in limits:
                with _deadline(process, limit, expired):
                    reply = receive(cast(BinaryIO, process.stdout))
        except BaseException as error:
            _kill(process)
            self._end()
            if not isinstance(error, Exception):
                raise
            if self._closed:
                raise ArgumentError("score: it was closed while it was running.") from None
            if expired.is_set():
                raise ScoreTimeoutError(f"took longer than {limit:g} s, so its process was killed") from None
            if not isinstance(error, EOFError | OSError):
                raise ScoreProcessError("what its process answered is no message; something else wrote it") from error
            raise ScoreProcessError(f"its process ended {_how(process.returncode)}") from None
        if expired.is_set():  # just in time: the reply counts, but the process is dead
            self._end()
        return reply

    def _end(self) -> None:
        """End the process if there is one."""
        if self._process is not None:
            self._finalize.detach()
            _bury(self._process)
            self._process = None


@contextlib.contextmanager
def _deadline(process: subprocess.Popen[bytes], seconds: float | None, expired: threading.Event) -> Iterator[None]:
    """Kill a process that is not done in time, and set the event."""
    if seconds is None:
        yield
        return

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # from here on it has either expired or never will


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it has started; it leads a group of its own."""
    if sys.platform.startswith("linux"):
        process.terminate()  # the keeper, which kills what is below it and ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2 * process_keeper.CLEARING)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Let an idle process end by itself, kill it if it does not, and close its pipes."""
    with contextlib.suppress(OSError):  # what could not be written any more
        cast(BinaryIO, process.stdin).close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(process_worker.GRACE / 2)
    _kill(process)
    process.wait()
    cast(BinaryIO, process.stdout).close()


def _abandon(process: subprocess.Popen[bytes], running: threading.Lock) -> None:
    """End the process of a score that nobody holds any more, or with the interpreter, where a thread may still wait."""
    if running.locked():
        _kill(process)
    _bury(process)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
