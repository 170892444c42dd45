"""Which pipelines can encode items, and the error of those that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers.families import Pipeline

# The methods of the protocols `Encodable` and `Masking`, whose absence is explained when one is asked for.
CODE_METHODS = frozenset({"encode", "decode", "latent_mask"})


class CannotEncodeError(UnsupportedError, AttributeError):
    """A generator that cannot encode items was asked to; `isinstance(generator, Encodable)` is false."""


def why_not_encodable(pipe: Pipeline, call: Mapping[str, Any]) -> str | None:
    """Why the items of a pipeline cannot be encoded, None where they can.

    Args:
        pipe: a `DiffusionPipeline`.
        call: the call arguments that are given.
    """
    vae: Any = getattr(pipe, "vae", None)
    name = type(pipe).__name__
    if "image" in call:
        return f"{name} mixes its noise with an image already. Use the pipeline that starts from noise alone."
    if call.get("output_type") == "latent":
        return f"{name} was asked for latents, which are encoded already. Give another output_type."
    if not (callable(getattr(vae, "encode", None)) and callable(getattr(vae, "decode", None))):
        return f"{name} has no VAE that encodes and decodes."
    if getattr(pipe, "vocoder", None) is not None:
        return f"{name} ends in a vocoder, which cannot be undone."
    if not any(hasattr(pipe, p) for p in ("image_processor", "video_processor")) and not hasattr(
        vae.config, "sampling_rate"
    ):
        return f"{name} has neither an image nor a video processor, nor a VAE of sound."
    return None
