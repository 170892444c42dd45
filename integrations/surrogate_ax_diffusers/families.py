"""How kinds of pipelines are driven, as a table: adding a family is adding a row, not a code path.

Shape, packing and scale of a latent are found by watching the pipeline (`discovery`); a row says what its axes mean.
Every name is optional in a pipeline: what its `__call__` or its components do not have is passed over, so that the
last row serves pipelines that no row names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

Pipeline: TypeAlias = Any  # a DiffusionPipeline, whose annotations type checkers see only in part

_PROMPTS = ("prompt", "prompt_2", "prompt_3", "prompt_4")
_TEXTS = (*_PROMPTS, *(f"negative_{name}" for name in _PROMPTS))


@dataclass(frozen=True)
class Family:
    """What differs between kinds of pipelines.

    Args:
        name: what the row is called.
        classes: patterns (`fnmatch`) of the names of pipeline classes and their bases.
        axes: what the axes of one latent mean, empty where that is not known.
        repeat: arguments that make n items of one prompt; the first that the pipeline has is used. Without one, the
            arguments of `rows` are given as lists of n.
        rows: arguments that may differ between the items of one call, as a list with one entry an item.
        mixed: whether items with different values of `rows` may share a call; False where a text would be padded to the
            longest of its list and so depend on the others.
        shape: arguments that change the shape of a latent; they are fixed when the generator is built.
        denoisers: components whose evaluated rows are the cost (NFE).
        multiple: what height and width must be multiples of, in units of the pipeline's `vae_scale_factor`; 0 where the
            pipeline itself refuses others.
        rejected: attributes of the pipeline's output that flag items as withheld, one truth value an item.
    """

    name: str
    classes: tuple[str, ...]
    axes: tuple[str, ...] = ()
    repeat: tuple[str, ...] = (
        "num_images_per_prompt",
        "num_videos_per_prompt",
        "num_waveforms_per_prompt",
        "batch_size",
    )
    rows: tuple[str, ...] = _TEXTS
    mixed: bool = True
    shape: tuple[str, ...] = (
        "height",
        "width",
        "num_frames",
        "video_length",
        "resolution",
        "use_resolution_binning",
        "audio_length_in_s",
        "audio_start_in_s",
        "audio_end_in_s",
        "audio_duration",
        "audio_duration_s",
        "duration",
    )
    denoisers: tuple[str, ...] = ("unet", "transformer", "transformer_2")
    multiple: int = 0
    rejected: tuple[str, ...] = ("nsfw_content_detected", "nsfw_detected")


_IMAGE, _VIDEO = ("channels", "height", "width"), ("channels", "frames", "height", "width")
_PACKED = ("patches", "channels")

FAMILIES: tuple[Family, ...] = (
    # The images of several ControlNets are one list, which goes to every item.
    Family("ControlNet", ("*ControlNet*Pipeline",), rows=(*_TEXTS, "image", "control_image")),
    # It wants as many images as texts.
    Family("Stable Diffusion from an image", ("StableDiffusionImg2ImgPipeline",), repeat=(), rows=(*_TEXTS, "image")),
    Family("from an image", ("*Img2ImgPipeline",), rows=(*_TEXTS, "image")),
    Family("Flux 2", ("Flux2*Pipeline",), _IMAGE, multiple=2),
    Family("Flux", ("Flux*Pipeline",), _PACKED, multiple=2),
    Family("Qwen-Image", ("QwenImage*Pipeline",), _PACKED, multiple=2),
    Family("Z-Image", ("ZImage*Pipeline",), _IMAGE),
    Family("Stable Diffusion", ("StableDiffusion*Pipeline",), _IMAGE),
    Family("HunyuanVideo", ("HunyuanVideo*Pipeline",), _VIDEO),
    Family("Wan", ("Wan*Pipeline",), _VIDEO),
    Family("LTX", ("LTX*Pipeline",), _PACKED),
    Family("Stable Audio", ("StableAudioPipeline",), ("channels", "time")),
    # They sort the waveforms of one prompt by likeness to it, so that rows change places; not those of several prompts.
    Family(
        "AudioLDM 2",
        ("AudioLDM2Pipeline", "MusicLDMPipeline"),
        ("channels", "time", "frequency"),
        repeat=(),
        rows=(*_TEXTS, "transcription"),
        mixed=False,
    ),
    Family(
        "ACE-Step",
        ("AceStepPipeline",),
        ("time", "channels"),
        rows=("prompt", "lyrics", "vocal_language"),
        mixed=False,
    ),
    Family("other", ("*",)),
)
"""Pipelines whose names differ, the special ones first; `Family` says what a row holds."""


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
