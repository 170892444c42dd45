"""The files of a saved space: read and checked, and written so that a crash leaves the old ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.checks import number, text
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.charts import chart_named

VERSION = 2  # of saved spaces: in 1 every latent had a draw's radius, which differs where stored seeds take part


def read_space_files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Array]:
    """The files and the frame of a space, complete and of this version."""
    try:
        described = json.loads((folder / "space.json").read_text())
        tensors = load_file(folder / "space.safetensors")
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ArgumentError(f"folder: no readable space in {folder} ({error}). Expected what `save` wrote.") from error
    version = described.get("version") if isinstance(described, dict) else None
    if version not in (1, VERSION):
        raise ArgumentError(f"folder: space.json has version {version}, this release reads 1 and {VERSION}.")
    wanted = {"prior", "seeds", "chart", "fresh", "fingerprint", "frame"}
    missing = sorted(wanted - described.keys() - tensors.keys())
    if missing:
        raise ArgumentError(f"folder: the space in {folder} lacks {missing}. Expected what `save` wrote.")
    if version == 1 and any(name.startswith("seed/") for name in tensors):
        raise ArgumentError(
            f"folder: the space in {folder} has version 1 and stored seeds, which were brought to a draw's radius then "
            "and keep their own now: its latents would be others. Make it anew from the same latents "
            "(`SurrogateSpace.from_latents`), or read it with the release that saved it."
        )
    for name in ("prior", "chart", "fingerprint"):
        text(described[name], f"folder: {name}")
    number(described["fresh"], "folder: fresh")
    if not isinstance(described["seeds"], list):
        raise ArgumentError(f"folder: expected a list of seeds in {folder}.")
    chart_named(described["chart"])  # refuses one that is not known
    return described, tensors, _frame(tensors["frame"], folder)


def _frame(frame: Tensor, folder: Path) -> Array:
    if not frame.is_floating_point() or not (torch.isfinite(frame).all() and (frame.abs() < 1e6).all()):
        raise ArgumentError(f"folder: the frame in {folder} is not of rows of unit norm; it was altered.")
    return np.asarray(frame.double().numpy())


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that a crash leaves the old one."""
    new = path.with_name(path.name + ".new")
    write(new)
    os.replace(new, path)
