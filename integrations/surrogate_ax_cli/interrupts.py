"""Ctrl-C once to stop and give back what is running, twice to stop at once."""

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

    What the second leaves running is taken back by the next run.

    Args:
        say: told at the first that a second one stops at once.
    """
    if threading.current_thread() is not threading.main_thread():  # signals can be handled there only
        yield
        return
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(INTERRUPTED)
        asked = True
        say("\nstopping: giving back what is running; Ctrl-C again stops at once")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
