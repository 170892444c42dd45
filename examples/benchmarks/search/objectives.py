"""Eight objectives of different kind over images (n, 16, 16, 3) in [0, 1]; four to develop on, four held out.

Development: a palette, mirror symmetry, a held-out avatar, a constrained one. Held out: contrast after down-sampling,
an attribute that the prompt does not name, a rare conjunction of attributes, and two objectives at once.
A task is worth one number: the best value, the best feasible one, or the hypervolume of all that was found.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from surrogate_ax import Metric, Objective
from surrogate_ax_cli.palette import palette_objective

sys.path.append(str(Path(__file__).parents[2] / "train_avatars"))
from classifier import ATTRIBUTES, WEIGHTS, Classifier
from dataset import held_out
from safetensors.torch import load_file

Array = np.ndarray
DEVELOPMENT = ("palette", "symmetry", "target", "constrained")
HELD_OUT = ("contrast", "attribute", "conjunction", "two")
NAMES = DEVELOPMENT + HELD_OUT
DUSK = {"#2b2d5b": 0.4, "#d9576b": 0.35, "#f2b25c": 0.25}
SEA = np.array([0.2, 0.55, 0.6])
FEASIBLE = 0.49  # mean distance to SEA that about one plain draw in ten keeps
ZERO = {"two": (-0.029, -0.62)}  # where hypervolume is counted from: about the medians of plain draws
LUMINANCE = np.array([0.299, 0.587, 0.114])


@cache
def _judge() -> Classifier:
    judge = Classifier()
    judge.load_state_dict(load_file(WEIGHTS))
    return judge.eval()


@torch.no_grad()
def _logits(images: Array) -> Array:
    x = torch.from_numpy(np.asarray(images, dtype=np.float32)).permute(0, 3, 1, 2) * 2 - 1
    return np.asarray(torch.cat([_judge()(part.contiguous()) for part in x.split(256)]).numpy(), dtype=np.float64)


@cache
def _target() -> Array:
    return held_out()[0][17].astype(np.float64) / 255


def palette(images: Array) -> Array:
    """Minus the earth mover's distance to a palette of three colours (n,)."""
    scored = palette_objective(DUSK)
    return -scored.measure(images, [{}] * len(images))[scored.metrics[0].name]


def symmetry(images: Array) -> Array:
    """Minus the mean difference between an image and its mirror (n,)."""
    x = np.asarray(images, dtype=np.float64)
    return -np.abs(x - x[:, :, ::-1]).mean(axis=(1, 2, 3))


def target(images: Array) -> Array:
    """Minus the root mean square difference to one held-out avatar (n,)."""
    x = np.asarray(images, dtype=np.float64)
    return -np.sqrt(((x - _target()) ** 2).mean(axis=(1, 2, 3)))


def contrast(images: Array) -> Array:
    """Standard deviation of the luminance after down-sampling to 4x4 pixels (n,)."""
    x = np.asarray(images, dtype=np.float64) @ LUMINANCE
    return x.reshape(-1, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1, 16).std(axis=1)


def sea(images: Array) -> Array:
    """Minus the mean distance of the pixels to one colour (n,)."""
    return -np.linalg.norm(np.asarray(images, dtype=np.float64) - SEA, axis=-1).mean(axis=(1, 2))


def attribute(images: Array) -> Array:
    """The judge's logit of dark glasses (n,)."""
    return _logits(images)[:, ATTRIBUTES.index("glasses")]


def conjunction(images: Array) -> Array:
    """The least of the judge's logits of a hat, dark skin, long hair and glasses (n,)."""
    wanted = [ATTRIBUTES.index(name) for name in ("hat", "dark skin", "long hair", "glasses")]
    return np.asarray(_logits(images)[:, wanted].min(axis=1))


@dataclass(frozen=True)
class Task:
    """An objective and what its results are worth.

    Args:
        name: of the objective.
        objective: ranks rows; scores images.
    """

    name: str
    objective: Objective

    def values(self, images: Array) -> dict[str, Array]:
        """Values (n,) of every metric."""
        return self.objective.measure(images, [{}] * len(images))

    def worth(self, values: Mapping[str, Array]) -> Array:
        """What the first 1, 2, ... n rows are worth (n,): -inf while nothing feasible was found."""
        losses, feasible = self.objective.losses(values), self.objective.violation(values) == 0
        if losses.shape[1] == 1:
            return np.maximum.accumulate(np.where(feasible, -losses[:, 0], -np.inf))
        return hypervolumes(-losses - np.array(ZERO[self.name]))


def hypervolumes(gains: Array) -> Array:
    """Area dominated by the first 1, 2, ... n rows of two gains over the point they are counted from (n,)."""
    front, area, areas = np.zeros((0, 2)), 0.0, np.zeros(len(gains))
    for i, point in enumerate(gains):
        if (point > 0).all() and not (front >= point).all(axis=1).any():
            front = np.vstack([front[~(front <= point).all(axis=1)], point])
            front = front[np.argsort(-front[:, 0])]
            heights = np.diff(front[:, 1], prepend=0)
            area = float((front[:, 0] * heights).sum())
        areas[i] = area
    return areas


@cache
def task(name: str) -> Task:
    """A task by name."""
    if name == "constrained":
        metrics = (Metric("contrast"), Metric("sea", "at_least", -FEASIBLE))
        return Task(name, Objective(*metrics, score=lambda x, _: {"contrast": contrast(x), "sea": sea(x)}))
    if name == "two":
        metrics = (Metric("symmetry"), Metric("palette"))
        return Task(name, Objective(*metrics, score=lambda x, _: {"symmetry": symmetry(x), "palette": sea(x)}))
    function = globals()[name]
    return Task(name, Objective(Metric(name), score=lambda x, _: function(x)))
