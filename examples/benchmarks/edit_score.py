"""The score that searches see: attributes by ridge regression on pixels, another network than the judge.

    python examples/benchmarks/edit_score.py FOLDER/ridge      # fits it again, to `ridge.safetensors`

It is fitted on 2,000 renderings of the training side, `node render.mjs images FOLDER/ridge 2000 train`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from avatar_items import KEYS, other_items, shows
from safetensors.numpy import load_file, save_file

WEIGHTS, RIDGE = Path(__file__).parent / "ridge.safetensors", 20.0
NAMES = tuple(KEYS)


class Ridge:
    """Attributes of pictures in [0, 1], 1 where they are there and -1 where not.

    Args:
        w: (769, 5) of the pixels and a constant.
    """

    def __init__(self, w: np.ndarray) -> None:
        self._w = w.astype(float)

    @classmethod
    def load(cls) -> Ridge:
        return cls(load_file(WEIGHTS)["w"])

    def __call__(self, images: Any, name: str, wanted: bool) -> np.ndarray:
        value = (features(np.asarray(images, dtype=float)) @ self._w)[:, NAMES.index(name)]
        return value if wanted else -value


def features(images: np.ndarray) -> np.ndarray:
    return np.hstack([images.reshape(len(images), -1) - 0.5, np.ones((len(images), 1))])


def fit(raw: Path) -> None:
    images, labels = other_items(2000, raw)
    truth = np.array([[1.0 if shows(label, name) else -1.0 for name in NAMES] for label in labels])
    x = features(images / 255)
    w = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ truth)
    save_file({"w": w.astype(np.float32)}, WEIGHTS)


if __name__ == "__main__":
    fit(Path(sys.argv[1]))
