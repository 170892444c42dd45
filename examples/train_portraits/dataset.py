"""The rendered portraits: raw training images, and the held-out ones that are committed as lossless WebP sheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE, ACROSS = 64, 32
HELD_OUT = Path(__file__).parent / "heldout"
Labels = list[dict[str, Any]]


def read_raw(stem: Path) -> tuple[np.ndarray, Labels]:
    """Images (n, 64, 64, 3) uint8 and their labels from `stem`.rgb and `stem`.jsonl, as `render.mjs` writes them."""
    images = np.fromfile(stem.with_suffix(".rgb"), dtype=np.uint8).reshape(-1, SIZE, SIZE, 3)
    labels = [json.loads(line) for line in stem.with_suffix(".jsonl").read_text().splitlines()]
    if len(images) != len(labels):
        raise ValueError(f"{stem}: {len(images)} images but {len(labels)} labels; render them again")
    return images, labels


def write_sheet(stem: Path, images: np.ndarray, labels: Labels) -> None:
    """Keep a set as one lossless WebP, 32 portraits a row, beside its labels."""
    n = len(images)
    rows = images.reshape(n // ACROSS, ACROSS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
    sheet = Image.fromarray(rows.reshape(n // ACROSS * SIZE, ACROSS * SIZE, 3))
    sheet.save(stem.with_suffix(".webp"), lossless=True, quality=100, method=6)
    stem.with_suffix(".jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))


def read_sheet(stem: Path) -> tuple[np.ndarray, Labels]:
    """The inverse of `write_sheet`: images (n, 64, 64, 3) uint8 and their labels."""
    sheet = np.asarray(Image.open(stem.with_suffix(".webp")).convert("RGB"))
    rows = sheet.reshape(sheet.shape[0] // SIZE, SIZE, ACROSS, SIZE, 3).transpose(0, 2, 1, 3, 4)
    labels = [json.loads(line) for line in stem.with_suffix(".jsonl").read_text().splitlines()]
    return rows.reshape(-1, SIZE, SIZE, 3), labels


def held_out() -> tuple[np.ndarray, Labels]:
    """512 labelled images that no training ever saw."""
    return read_sheet(HELD_OUT / "images")


def pairs() -> tuple[np.ndarray, Labels]:
    """256 pairs (rows 2i and 2i + 1) that differ in the attribute `label["differs"]` only."""
    return read_sheet(HELD_OUT / "pairs")


if __name__ == "__main__":  # python dataset.py RAW_FOLDER: commit what `render.mjs` made as held-out sets
    import sys

    HELD_OUT.mkdir(exist_ok=True)
    for name, raw in {"images": "heldout", "pairs": "pairs"}.items():
        write_sheet(HELD_OUT / name, *read_raw(Path(sys.argv[1]) / raw))
