"""How kinds of pipelines are driven, as a table: adding a family is adding a row, not a code path.

Every name is optional in a pipeline: what its `__call__` or its components do not have is passed over, so that the
last row serves most pipelines as they are. A row of its own is needed only where a name differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

Pipeline: TypeAlias = Any  # a DiffusionPipeline, whose annotations type checkers see only in part

_TEXTS = ("prompt", "prompt_2", "prompt_3", "prompt_4")


@dataclass(frozen=True)
class Family:
    """What differs between kinds of pipelines.

    Args:
        name: what the row is called.
        classes: patterns (`fnmatch`) of the names of pipeline classes and their bases.
        repeat: arguments that make n items of one prompt; the first that the pipeline has is used. Without one, the
            arguments of `rows` are given as lists of n.
        rows: arguments that may differ between the items of one call, as a list with one entry an item.
        shape: arguments that change the shape of a latent; they are fixed when the generator is built.
        denoisers: components whose evaluated rows are the cost (NFE).
        rejected: attributes of the pipeline's output that flag items as withheld, one truth value an item.
    """

    name: str
    classes: tuple[str, ...]
    repeat: tuple[str, ...] = (
        "num_images_per_prompt",
        "num_videos_per_prompt",
        "num_waveforms_per_prompt",
        "batch_size",
    )
    rows: tuple[str, ...] = (*_TEXTS, *(f"negative_{name}" for name in _TEXTS))
    shape: tuple[str, ...] = (
        "height",
        "width",
        "num_frames",
        "video_length",
        "resolution",
        "use_resolution_binning",
        "audio_length_in_s",
        "audio_duration",
        "audio_duration_s",
        "duration",
    )
    denoisers: tuple[str, ...] = ("unet", "transformer", "transformer_2")
    rejected: tuple[str, ...] = ("nsfw_content_detected", "nsfw_detected")


FAMILIES: tuple[Family, ...] = (Family("generic", ("*",)),)  # Stable Diffusion, SDXL, SD3, Flux need no row


def find_family(pipeline: type, families: Iterable[Family] = FAMILIES) -> Family:
    """The first row that names the pipeline's class or one of its bases.

    Args:
        pipeline: a pipeline class.
        families: rows, the most special first.

    Raises:
        StopIteration: never with the default table, whose last row takes everything.
    """
    names = [base.__name__ for base in pipeline.__mro__]
    return next(f for f in families if any(fnmatchcase(name, p) for p in f.classes for name in names))
