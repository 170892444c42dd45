"""Ctrl-C once gives running trials back and stops; twice stops at once. SIGTERM, SIGHUP and SIGUSR1 do the same.

SIGUSR1 is what Slurm is asked to send some time before it ends a job (`--signal=USR1@120`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTED = 130
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


class _Stop:
    """Whether the process has been asked to stop."""

    requested = False


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[None]:
    """Let the first of these signals stop the block, and end the process at the second.

    The first sets a flag, which the loop looks at, and raises KeyboardInterrupt, which is quicker where it is heard. A
    block that has ended all the same, or with another error that this has led to, ends as interrupted. Trials that are
    still running at the second are given back by the next run. Once stopped, the process is ending: the second is
    heard until it has ended.

    Args:
        say: called at the first, with the advice that a second one stops at once, and with what else went wrong.
    """
    if threading.current_thread() is not threading.main_thread():  # signals can be handled there only
        yield
        return
    stop = _Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in _heard(before):
        signal.signal(number, _handler(stop, say))
    hook, sys.unraisablehook = sys.unraisablehook, _without_stops(stop, sys.unraisablehook)
    try:
        from surrogate_ax.execution.stops import check_stop, watching  # heavy, so signals are heard meanwhile

        with watching(lambda: stop.requested):
            yield
            check_stop()
    except Exception as error:
        if not stop.requested:
            raise
        say(f"while stopping: {type(error).__name__}: {error}")
    finally:
        sys.unraisablehook = hook
        if not stop.requested:
            for number in _heard(before):
                signal.signal(number, before[number])
    if stop.requested:
        raise KeyboardInterrupt


def _heard(before: dict[int, Any]) -> list[int]:
    """Signals to see to: a hang-up not where it is ignored, as under nohup."""
    hang_up = getattr(signal, "SIGHUP", None)
    return [number for number, handler in before.items() if number != hang_up or handler != signal.SIG_IGN]


def _handler(stop: _Stop, say: Callable[[str], None]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(INTERRUPTED)
        stop.requested = True
        # The terminal may be gone, or the signal have come while it was being written to.
        with suppress(OSError, RuntimeError, ValueError):
            say("\nstopping: giving running trials back; Ctrl-C again stops at once")
        raise KeyboardInterrupt

    return handle


def _without_stops(stop: _Stop, hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for what Python drops that says nothing of a stop, which has not got lost."""

    def said(dropped: Any) -> None:
        if not (stop.requested and issubclass(dropped.exc_type, KeyboardInterrupt)):
            hook(dropped)

    return said
