"""The program that a `SubprocessScore` starts: the score's process, and one that outlives it and clears up.

    caller  ──pipes──►  keeper (a child subreaper)  ──fork──►  worker, whatever it starts, in sessions of their own too

On Linux the keeper inherits every process below it whose own parent has ended, so that it finds them all: also what a
score has started in another session or as a daemon, which no group of processes holds. When the worker ends, the caller
says so (SIGTERM) or is gone, it kills them all, and ends as the worker did. Elsewhere the worker leads a group of
processes, which is killed.

Only the standard library is imported, and nothing before the fork that has threads.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import select
import signal
import sys
import time
from pathlib import Path

GRACE = 1.5  # seconds in which the worker ends by itself once its caller is gone; it takes 1 s
CLEARING = 5.0  # seconds within which everything has been killed, where that is allowed
_SET_CHILD_SUBREAPER, _SET_PARENT_DEATH_SIGNAL = 36, 1  # of prctl(2)


def main() -> None:
    """Run the worker; on Linux below a process that clears up."""
    worker = str(Path(__file__).with_name("process_worker.py"))
    if not sys.platform.startswith("linux") or not _prctl(_SET_CHILD_SUBREAPER, 1):
        runpy.run_path(worker, run_name="__main__")
        return
    heard, tell = os.pipe()
    for end in (heard, tell):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        runpy.run_path(worker, run_name="__main__")
        return
    os.close(1)  # the worker's end of the pipe is the only one: the caller sees when it closes
    status = _keep(child, heard)
    _clear()
    _end_as(status)


def _keep(worker: int, heard: int) -> int:
    """Wait until the worker ends, or has to; its status."""
    poll, end = select.poll(), float("inf")
    poll.register(heard, select.POLLIN)
    poll.register(0, 0)  # the caller's end is closed when it is done, or gone
    while True:
        for process, status in _buried():
            if process == worker:
                return status
        left = end - time.monotonic()
        if left <= 0:
            return _kill(worker)
        events = dict(poll.poll(None if left == float("inf") else 1000 * left))
        if heard in events and signal.SIGTERM in os.read(heard, 512):
            return _kill(worker)
        if 0 in events:
            poll.unregister(0)
            end = time.monotonic() + GRACE


def _kill(worker: int) -> int:
    """Kill the worker; its status, which is its own if it was about to end."""
    os.kill(worker, signal.SIGKILL)  # it is not buried yet, so that the number is still its own
    return os.waitpid(worker, 0)[1]


def _clear() -> None:
    """Kill every process below this one. What is killed hands its own children on to it, so this is done again."""
    end = time.monotonic() + CLEARING
    while time.monotonic() < end:
        for process in _below():
            try:
                os.kill(process, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # ended, or of another user
                continue
        if not _has_children():
            return
        time.sleep(0.01)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    list(_buried())
    return True


def _buried() -> list[tuple[int, int]]:
    """Children that have ended, and how."""
    found = list[tuple[int, int]]()
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        found.append((process, status))


def _below() -> list[int]:
    """Processes below this one, however far."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, new = list[int](), [os.getpid()]
    while new:
        new = [child for process in new for child in children.get(process, [])]
        found += new
    return found


def _end_as(status: int) -> None:
    """End with a status of `waitpid`."""
    if os.WIFSIGNALED(status):
        import resource  # which Windows lacks

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has left a core, if it was to
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _prctl(option: int, value: int) -> bool:
    """Whether the kernel has set an attribute of this process."""
    return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) == 0


if __name__ == "__main__":
    main()
