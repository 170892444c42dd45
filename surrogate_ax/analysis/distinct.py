"""The best trials of a study that differ in latent and output; outputs are looked at in files, or made again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from surrogate_ax.analysis.looks import Features, looks
from surrogate_ax.analysis.portfolio import MIN_DISTANCE, choose
from surrogate_ax.arrays import Array
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.generation.protocols import Generator, Timed
from surrogate_ax.generation.recipe import render
from surrogate_ax.media.preview_files import Preview, open_preview

Kept = Callable[[int], Preview | None]  # the file of a trial's output, by the trial's number

MADE = 4  # times k: outputs that are made to find k which differ, at most
_logger = logging.getLogger(__name__)


def distinct(
    record: SearchRecord,
    generator: Generator,
    *,
    k: int,
    max_cosine: float = 0.9,
    min_distance: float = MIN_DISTANCE,
    features: Features | None = None,
    kept: Kept | None = None,
    device: torch.device | str = "cpu",
) -> list[int]:
    """Rows of the best k trials that differ, best first.

    Args:
        record: what a study holds.
        generator: the one that it was made with; it makes the outputs that are compared, 4 k of them at most.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents, in (0, 1].
        min_distance: limit on the distance of what is seen of any two outputs, 1 being that of two plain draws; 0
            compares latents only.
        features: n outputs -> (n, F) numbers in which they are compared, such as an embedding; `looks` if left out.
        kept: files of outputs, which are compared in place of outputs made again, as many as there are; not with
            `features`, which may want the outputs themselves.
        device: where latents are made.

    Raises:
        ArgumentError: k or a limit out of range, no successful trial, or features of another shape.
        GenerationError: the generator failed for an output.
    """
    history, prior = record.history, generator.prior
    rate = generator.rate if isinstance(generator, Timed) else None

    def made(rows: Sequence[int]) -> Array:
        recipes = [record.trials[row].recipe for row in rows]
        outputs: Any = render(recipes, generator, seeds=history.tensors, device=device)[0]
        found: Any = looks(outputs, rate=rate) if features is None else features(outputs)
        return found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else found

    def opened(rows: Sequence[int]) -> Array:
        return looks_of_files([kept(record.trials[row].number) if kept else None for row in rows])

    chosen: dict[str, Any] = {"k": k, "max_cosine": max_cosine, "min_distance": min_distance}
    try:
        if kept is not None and features is None:
            return choose(history, prior, seen=opened, **chosen)
    except UnsupportedError:
        _logger.debug("outputs are made again: not every one has a file that can be compared")
    try:
        return choose(history, prior, seen=made, most=MADE * k, **chosen)
    except UnsupportedError as error:
        _logger.warning("outputs are told apart by their latents only: %s", error)
        return choose(history, prior, k=k, max_cosine=max_cosine)


def looks_of_files(previews: Sequence[Preview | None]) -> Array:
    """Features (n, F) of outputs in files.

    Raises:
        UnsupportedError: one has no file, or of a kind that is not read.
    """
    outputs, rates = [], set[float | None]()
    for preview in previews:
        if preview is None:
            raise UnsupportedError("preview: an output has no file.")
        output, rate = open_preview(preview)
        outputs.append(output)
        rates.add(rate)
    return looks(outputs, rate=next(iter(rates), None))
