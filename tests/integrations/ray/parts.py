"""Generators and scores that actors of the tests import by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surrogate_ax import FunctionGenerator
from surrogate_ax.errors import ArgumentError
from tests.contracts.euler_flow import EulerFlow

SIDE = 4


def scaled(z: torch.Tensor, conditions: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Pictures; a condition may name a file: while it is there the process kills itself, first removing it or not."""
    for condition in conditions:
        unknown = condition.keys() - {"scale", "bomb", "fuse", "raises", "pid"}
        if unknown:
            raise ArgumentError(f"conditions: unknown {sorted(unknown)}")
        if condition.get("raises"):
            raise ValueError("out of paint")
        if "bomb" in condition:
            os.kill(os.getpid(), signal.SIGKILL)
        if "fuse" in condition and Path(condition["fuse"]).exists():
            Path(condition["fuse"]).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    scale = torch.tensor([float(condition.get("scale", 1.0)) for condition in conditions])
    made = torch.sigmoid(scale[:, None, None] * z.float())
    if any(condition.get("pid") for condition in conditions):
        made[:] = float(os.getpid())
    return made


def pictures(revision: str = "1") -> FunctionGenerator:
    return FunctionGenerator(scaled, (SIDE, SIDE), conditional=True, revision=revision, check_rows=False)


def busy(z: torch.Tensor) -> torch.Tensor:
    end = time.process_time() + 0.1 * len(z)
    while time.process_time() < end:
        pass
    return torch.sigmoid(z)


def slow() -> FunctionGenerator:
    return FunctionGenerator(busy, (SIDE, SIDE), check_rows=False)


def flow() -> EulerFlow:
    return EulerFlow(steps=8, d=16, watch=watch)


def watch(kind: str, x: torch.Tensor, conditions: Sequence[Mapping[str, Any]]) -> None:
    """As for `scaled`, at a step."""
    for condition in conditions:
        if "bomb" in condition:
            os.kill(os.getpid(), signal.SIGKILL)
        if "fuse" in condition and Path(condition["fuse"]).exists():
            Path(condition["fuse"]).unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def broken() -> FunctionGenerator:
    raise RuntimeError("the weights are gone")


def light(outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean, and the process that has scored; a dark picture cannot be scored."""
    values = np.array([float(np.asarray(output).mean()) for output in outputs])
    if (values < 0.02).any():
        raise ValueError("too dark")
    return {"light": values, "process": np.full(len(values), float(os.getpid()))}


def mean(outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> Any:
    return np.array([float(np.asarray(output).mean()) for output in outputs])
