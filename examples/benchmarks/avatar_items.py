"""Items of the benchmarks of editing, and their judge.

Held-out renderings and pairs come from `examples/train_avatars/heldout`, which no training ever saw. Settings are
chosen on other renderings, `--tune FOLDER`, which the renderer there writes:

    node render.mjs images FOLDER/tune 96 train && node render.mjs pairs FOLDER/tunepairs 96 trainpair

The judge is the committed classifier.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

TRAIN = Path(__file__).parents[1] / "train_avatars"
sys.path.insert(0, str(TRAIN))

import classifier  # noqa: E402
from captions import BINARY, phrases  # noqa: E402
from dataset import held_out, pairs, read_raw  # noqa: E402

KEYS = {"glasses": "glasses", "hat": "hat", "long hair": "hair", "dark skin": "skin", "red clothes": "clothes"}
JUDGE = classifier.load()


def caption(parts: dict[str, str]) -> str:
    return ", ".join(parts.values())


def other_items(n: int, raw: Path) -> tuple[np.ndarray, list[dict[str, str]]]:
    """The first n of other renderings than the held-out ones, uint8 (n, 16, 16, 3), and their phrases.

    Args:
        n: how many.
        raw: stem of what `node render.mjs images RAW 96 train` in `examples/train_avatars` wrote.
    """
    images, labels = read_raw(raw)
    return images[:n], [phrases(label) for label in labels[:n]]


def rendered(n: int, rng: int) -> tuple[np.ndarray, list[dict[str, str]]]:
    """n of the 256 held-out renderings, uint8 (n, 16, 16, 3), another n for another rng, and their phrases."""
    images, labels = held_out()
    at = np.random.default_rng(0).permutation(len(images))[rng * n : (rng + 1) * n]
    return images[at], [phrases(labels[i]) for i in at]


Pairs = tuple[np.ndarray, np.ndarray, list[dict[str, str]], list[dict[str, str]], list[str]]


def rendered_pairs(rng: int, raw: Path | None = None) -> Pairs:
    """Pairs of one binary attribute, 86 of the 128 held-out ones: sources, true targets, their phrases, the attribute.

    Pairs of beards, often too faint to judge, and of backgrounds are left out. Their order is always the same.

    Args:
        rng: which of a pair is the source.
        raw: stem of other pairs than the held-out ones, from `node render.mjs pairs RAW 96 trainpair`.
    """
    images, labels = pairs() if raw is None else read_raw(raw)
    named, chosen = {phrase: name for name, phrase in KEYS.items()}, []
    for i in range(len(images) // 2):
        a, b = phrases(labels[2 * i]), phrases(labels[2 * i + 1])
        differing = [k for k in a if a[k] != b[k]]
        if len(differing) == 1 and differing[0] in named:
            name = named[differing[0]]
            if shows(a, name) != shows(b, name):
                chosen.append((i, name))
    at = [chosen[k] for k in np.random.default_rng(0).permutation(len(chosen))]
    flip = np.random.default_rng([1, rng]).integers(2, size=len(at)).tolist()
    first = [2 * i + f for (i, _), f in zip(at, flip, strict=True)]
    second = [2 * i + 1 - f for (i, _), f in zip(at, flip, strict=True)]
    texts = [[phrases(labels[i]) for i in rows] for rows in (first, second)]
    return images[first], images[second], *texts, [name for _, name in at]


def logits(outputs: Any) -> np.ndarray:
    """What the judge sees in n images in [0, 1], (n, 6), positive where an attribute is present."""
    pixels = np.round(np.clip(np.asarray(outputs), 0, 1) * 255).astype(np.uint8)
    with torch.no_grad():
        return JUDGE(classifier.scaled(pixels)).numpy().astype(float)


def shows(label: dict[str, str], name: str) -> bool:
    """Whether phrases have a binary attribute."""
    phrase = label[KEYS[name]]
    if name in ("glasses", "hat"):
        return not phrase.startswith("no ")
    return phrase.startswith(BINARY[name][0].split()[0])


def rmse(a: Any, b: Any) -> np.ndarray:
    """RMS difference (n,) of images in [0, 1], on the scale of [-1, 1]."""
    return 2 * np.sqrt(np.square(np.asarray(a) - np.asarray(b)).mean(axis=(1, 2, 3)))


def quantiles(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Median, 90th percentile and worst."""
    return float(np.median(values)), float(np.quantile(values, 0.9)), float(np.max(values))
