"""How many samples or frames a second a pipeline's outputs have; previews need to know."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from surrogate_ax_diffusers.families import Pipeline

# Frames a second of clips whose pipelines take no such argument, as their model cards write them.
FRAMES: Mapping[str, float] = {"Wan*": 16.0, "HunyuanVideo*": 15.0}


def output_rate(pipe: Pipeline, call: Mapping[str, Any], defaults: Mapping[str, Any]) -> float | None:
    """Samples or frames a second, None for images and where it is not known.

    Args:
        pipe: a `DiffusionPipeline`.
        call: its call arguments.
        defaults: what it takes for those left out.
    """
    for name in ("frame_rate", "fps"):
        rate = call.get(name, defaults.get(name))
        if isinstance(rate, (int, float)) and rate > 0:
            return float(rate)
    for component in ("vocoder", "vae"):
        rate = getattr(getattr(getattr(pipe, component, None), "config", None), "sampling_rate", None)
        if isinstance(rate, (int, float)):
            return float(rate)
    return next((rate for pattern, rate in FRAMES.items() if fnmatchcase(type(pipe).__name__, pattern)), None)
