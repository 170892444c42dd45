"""How many samples or frames a second a pipeline's outputs have; previews of sound and clips need to know."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from surrogate_ax_diffusers.families import Pipeline

# Frames a second, by pattern of the class name, of clips whose pipelines take no such argument: from their model cards.
FRAME_RATES: Mapping[str, float] = {"Wan*": 16.0, "HunyuanVideo*": 15.0}


def output_rate(pipe: Pipeline, call: Mapping[str, Any], defaults: Mapping[str, Any]) -> float | None:
    """Samples or frames a second; None for images, and where it is not known.

    Args:
        pipe: a `DiffusionPipeline`.
        call: the call arguments that are given.
        defaults: the pipeline's own values of those left out.
    """
    for name in ("frame_rate", "fps"):
        rate = call.get(name, defaults.get(name))
        if isinstance(rate, (int, float)) and rate > 0:
            return float(rate)
    for component in ("vocoder", "vae"):
        rate = getattr(getattr(getattr(pipe, component, None), "config", None), "sampling_rate", None)
        if isinstance(rate, (int, float)):
            return float(rate)
    return next((rate for pattern, rate in FRAME_RATES.items() if fnmatchcase(type(pipe).__name__, pattern)), None)
