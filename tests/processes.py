"""Processes of a test's own, forked from one that has imported what takes seconds: `python -c CODE ARGUMENTS`, sooner.

Signals, pipes, exit codes and kills are those of any process. What a fresh interpreter imports, and how it ends, is
for `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import DupFd  # type: ignore[attr-defined,unused-ignore]
from pathlib import Path
from typing import IO, Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch", "scipy.stats", "alembic.command", "grpc", "optuna.storages._rdb.models", "surrogate_ax_optuna"]
)


def _run(code: str, arguments: list[str], folder: str, environment: dict[str, str], out: Any, err: Any) -> None:
    for to, pipe in ((1, out), (2, err)):
        given = pipe.detach()
        os.dup2(given, to)
        os.close(given)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, "")
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


class Forked:
    """A running process, as `subprocess.Popen` shows it."""

    def __init__(
        self, code: str, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        pipes = [os.pipe() for _ in range(2)]
        folder, environment = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        # What the process is told is written while it is started, the only time at which DupFd works.
        given = (code, list(arguments), folder, environment, *(_Pipe(write) for _, write in pipes))
        self._process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()
        for _, write in pipes:
            os.close(write)
        self.stdout: IO[str] = open(pipes[0][0], encoding="utf-8")  # noqa: SIM115
        self.stderr: IO[str] = open(pipes[1][0], encoding="utf-8")  # noqa: SIM115

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("-c", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What is left to read of its standard output and standard error, once it has ended."""
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr) if not stream.closed]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            stdout, stderr = [text.result() for text in texts] or ("", "")
        self.stdout.close()
        self.stderr.close()
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()


class _Pipe:
    """A pipe's end that goes to the process while it is started."""

    def __init__(self, end: int) -> None:
        self._end = end

    def __reduce__(self) -> Any:
        return _same, (DupFd(self._end),)


def _same(pipe: Any) -> Any:
    return pipe
