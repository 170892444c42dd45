"""A stop that cannot get lost: a signal sets a flag, which the loop looks at, beside raising KeyboardInterrupt.

Python drops what is raised in a `__del__`, a weak reference's callback or a C library's callback, so that a signal that
arrives there would stop nothing. The flag stays.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_asked: ContextVar[Callable[[], bool]] = ContextVar("asked")  # of the signals of this process, where they are seen to


def check_stop() -> None:
    """Stop here if that was asked for; does nothing where nobody sees to signals.

    Raises:
        KeyboardInterrupt: it was, whatever has become of the one that was raised then.
    """
    asked = _asked.get(None)
    if asked is not None and asked():
        raise KeyboardInterrupt


@contextmanager
def watching(asked: Callable[[], bool]) -> Iterator[None]:
    """Let `check_stop` look at a flag inside the block.

    Args:
        asked: whether the process has been asked to stop.
    """
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C set the flag as well.

    What sees to signals already, as the command does, or handlers of the caller's own, is left as it is.
    """
    seen_to = threading.current_thread() is not threading.main_thread() or _asked.get(None) is not None
    if seen_to or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        with watching(lambda: asked):
            yield
            check_stop()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
