"""A folder with a generator, scores and a sweep file, and the command run there."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from surrogate_ax_cli.main import app

PARTS = """
import time
import torch
from surrogate_ax import FunctionGenerator

CALLS = []

def clouds(z):
    CALLS.append(len(z))
    return torch.nn.functional.interpolate(z[:, None], size=(24, 24), mode="bicubic")[:, 0].sigmoid()

def searched(z, conditions):
    return clouds(z) * torch.tensor([c["light"] for c in conditions])[:, None, None]

def make(revision="1"):
    return FunctionGenerator(clouds, (8, 8), revision=revision, check_rows=False)

def lit():
    return FunctionGenerator(searched, (8, 8), conditional=True, check_rows=False)

def vectors():
    return FunctionGenerator(torch.clone, (8,))

def broken():
    raise RuntimeError("the weights are gone")

def nothing():
    return None

def failing():
    return FunctionGenerator(fail, (8, 8))

def fail(z):
    raise RuntimeError("out of paint")

def slowly(z):
    time.sleep(0.2)
    return clouds(z)

def slow():
    return FunctionGenerator(slowly, (8, 8), check_rows=False)

def darker(pictures, conditions):
    return pictures[:, :, 12:].mean(dim=(1, 2)) - pictures[:, :, :12].mean(dim=(1, 2))

def lighter(pictures, conditions):
    return -darker(pictures, conditions)

def first(outputs, conditions):
    return outputs[:, 0]

def two(pictures, conditions):
    return {"dark": darker(pictures, conditions), "mean": pictures.mean(dim=(1, 2))}
"""
BASE = {
    "version": "1",
    "generator": "sweep_parts:make",
    "score": "sweep_parts:darker",
    "metrics": "{dark: maximize}",
    "budget": "12",
    "batch": "4",
}


def sweep_text(**changes: str | None) -> str:
    """A sweep file's text with keys changed, added, or (None) left out."""
    keys = {**BASE, **changes}
    return "".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None)


class Sweep:
    """A sweep file in a folder of its own.

    Args:
        folder: with `sweep_parts.py`; the current one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, command: str, *arguments: str, file: str = "s.yaml", **changes: str | None) -> Any:
        if not (self.folder / file).exists() or changes:
            self.write(file, **changes)
        gc.freeze()  # so that what was there before the command is not gone through after it
        answer = CliRunner().invoke(app, [command, file, *arguments])
        # A command ends with its process and its connections, whose files beside the database go then.
        answer.exception = answer.exc_info = None
        gc.collect()
        gc.unfreeze()
        return answer

    def write(self, file: str = "s.yaml", **changes: str | None) -> None:
        (self.folder / file).write_text(sweep_text(**changes))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())
