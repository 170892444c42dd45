"""One call for what several threads ask for at about the same time.

`study.optimize(f, n_jobs=16)` calls f from 16 threads, one trial each, while a generator is quick in batches. A thread
waits until as many wait as can be expected, those that have called before and still live, or until no other has come
for twice as long as it has taken of late; then one of them calls for all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENCE = 1.0, 10.0  # seconds without another caller after which a part of a batch is called: least, and most
LATELY = 64  # callers whose pauses say what is usual


class _Slot(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.done = False


class Coalescing(Generic[Item, Result]):
    """Calls a function of many items for callers with one each.

    Args:
        function: results of items, in their order.
        size: items of one call, at most.
    """

    def __init__(self, function: Callable[[Sequence[Item]], Sequence[Result]], *, size: int) -> None:
        self._function, self._size = function, size
        self._pauses: deque[float] = deque([0.0], maxlen=LATELY)
        self._latest = time.monotonic()  # that a caller came, or was answered
        self._waiting: list[_Slot[Item, Result]] = []
        self._callers: set[threading.Thread] = set()
        self._came = threading.Condition()
        self._leading = False  # whether one of the callers gathers or calls for all

    def __call__(self, item: Item) -> Result:
        """The result of one item; what the function raises is raised for every item of its call."""
        slot: _Slot[Item, Result] = _Slot(item)
        with self._came:
            if threading.current_thread() in self._callers:  # before, its pause says nothing of the others'
                self._pauses.append(time.monotonic() - self._latest)
            self._callers.add(threading.current_thread())
            self._latest = time.monotonic()
            self._waiting.append(slot)
            self._came.notify_all()
        try:
            while self._leads(slot):
                self._call()
        finally:
            with self._came:
                if slot in self._waiting:  # an interrupt broke in
                    self._waiting.remove(slot)
        if slot.error is not None:
            raise slot.error
        return slot.result  # type: ignore[return-value]  # it is done, without an error

    def _leads(self, slot: _Slot[Item, Result]) -> bool:
        """Whether a caller is to call for those who wait; not once its own item is done."""
        with self._came:
            self._came.wait_for(lambda: slot.done or not self._leading)
            self._leading = self._leading or not slot.done
            return not slot.done

    def _gathered(self) -> list[_Slot[Item, Result]]:
        """Those who wait, once nobody else is to be expected soon."""
        with self._came:
            while len(self._waiting) < min(self._size, self._expected()):
                before = len(self._waiting)
                self._came.wait(min(max(PATIENCE[0], 2 * max(self._pauses)), PATIENCE[1]))
                if len(self._waiting) == before:
                    break
            taken, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            return taken

    def _expected(self) -> int:
        self._callers = {thread for thread in self._callers if thread.is_alive()}
        return len(self._callers)

    def _call(self) -> None:
        slots: list[_Slot[Item, Result]] = []
        try:
            slots = self._gathered()
            for slot, result in zip(slots, self._function([slot.item for slot in slots]), strict=True):
                slot.result = result
        except BaseException as error:
            for slot in slots:
                slot.error = error
            raise
        finally:
            with self._came:
                for slot in slots:
                    slot.done = True
                self._leading, self._latest = False, time.monotonic()
                self._came.notify_all()
