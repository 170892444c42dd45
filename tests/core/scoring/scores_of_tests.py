"""Scores that `SubprocessScore`s of the tests call in their processes: named, imported there, quick to import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Conditions = list[dict[str, Any]]


def total(outputs: Any, conditions: Conditions) -> list[float]:
    return [float(np.sum(output)) for output in outputs]


def two(outputs: Any, conditions: Conditions) -> dict[str, Any]:
    print("not a message")
    assert sys.stdin.read() == ""
    return {"sum": total(outputs, conditions), "kind": np.full(len(outputs), isinstance(outputs, np.ndarray))}


def faulty(outputs: Any, conditions: Conditions) -> list[float]:
    """The sum of each output, but for those whose condition says what goes wrong; calls are logged."""
    for condition in conditions:
        if "log" in condition:
            with Path(condition["log"]).open("a") as log:
                log.write(f"{os.getpid()} {len(outputs)}\n")
            break
    for condition in conditions:
        if condition.get("fault") == "raise":
            raise ValueError("bad pose")
        if condition.get("fault") == "crash":
            os._exit(7)
        if condition.get("fault") == "segfault":
            os.abort()
        if condition.get("fault") == "hang":
            time.sleep(600)
        if condition.get("fault") == "hang with a child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(condition["child"]).write_text(str(child.pid))
            time.sleep(600)
    return total(outputs, conditions)


def words(outputs: Any, conditions: Conditions) -> list[str]:
    return ["good"] * len(outputs)


class Judge:
    calls = 0

    @classmethod
    def remembers(cls, outputs: Any, conditions: Conditions) -> list[int]:
        cls.calls += 1
        return [cls.calls] * len(outputs)


not_a_function = 3


def leaves_children(outputs: Any, conditions: Conditions) -> list[float]:
    """Starts programs that no group of processes holds, writes their numbers down, and does as its condition says."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    shell = ["sh", "-c", "setsid sleep 600 > /dev/null & echo $!"]  # which ends, so that its child is nobody's
    daemon = subprocess.run(shell, stdout=subprocess.PIPE, text=True)
    Path(conditions[0]["log"]).write_text(f"{child.pid} {daemon.stdout}")
    if conditions[0]["then"] == "hang":
        time.sleep(600)
    if conditions[0]["then"] == "crash":
        os._exit(7)
    return total(outputs, conditions)


def forks(outputs: Any, conditions: Conditions) -> list[float]:
    """Returns twice: in this process and in a copy of it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return [float(child > 0)] * len(outputs)


def talks_over(outputs: Any, conditions: Conditions) -> list[float]:
    """Writes into whatever pipes it has."""
    for number in range(3, 10):
        try:
            os.write(number, b"\x00" * 7 + b"\x02{}")
        except OSError:
            continue
    return total(outputs, conditions)
