"""Ctrl-C once gives running trials back and stops; twice stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a KeyboardInterrupt, and end the process at the second.

    Trials that are still running at the second are given back by the next run.

    Args:
        say: called at the first, with the advice that a second one stops at once.
    """
    if threading.current_thread() is not threading.main_thread():  # signals can be handled there only
        yield
        return
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(INTERRUPTED)
        stopping = True
        say("\nstopping: giving running trials back; Ctrl-C again stops at once")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
