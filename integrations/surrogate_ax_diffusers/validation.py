"""Checks of a pipeline before anything runs: its components, its device, and the size that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers.families import Family, Pipeline

_PROMPT_READERS = ("text_encoder", "tokenizer")


def missing_encoder(pipe: Pipeline) -> str | None:
    """The name of a component that reads prompts and is missing, though the pipeline does not call it optional.

    Args:
        pipe: a pipeline.
    """
    optional = getattr(pipe, "_optional_components", ())
    return next(
        (n for n, c in pipe.components.items() if c is None and n.startswith(_PROMPT_READERS) and n not in optional),
        None,
    )


def check_size(pipe: Pipeline, family: Family, call: Mapping[str, Any], arguments: Collection[str]) -> None:
    """Refuse a height or width that the pipeline would change or ignore on its own.

    Args:
        pipe: a pipeline.
        family: its row of `FAMILIES`.
        call: the call arguments that are given.
        arguments: the names of all that it takes.

    Raises:
        ArgumentError: not a positive whole number, not a multiple of what the family wants, or one without the other.
    """
    multiple = family.multiple * int(getattr(pipe, "vae_scale_factor", 0))
    sizes = {name: call[name] for name in ("height", "width") if call.get(name) is not None}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(f"{name}: expected a positive whole number of pixels, got {size!r}.")
        if multiple and size % multiple:
            lower = max(size // multiple, 1) * multiple
            raise ArgumentError(
                f"{name}: {type(pipe).__name__} needs a multiple of {multiple}, got {size}. Use {lower} or "
                f"{lower + multiple}."
            )
    if len(sizes) == 1 and {"height", "width"} <= set(arguments):  # Stable Diffusion ignores one without the other
        (missing,) = {"height", "width"} - sizes.keys()
        raise ArgumentError(f"{missing}: expected it beside {next(iter(sizes))}, got only one of them. Give both.")


def check_decoder(pipe: Pipeline, call: Mapping[str, Any]) -> None:
    """Refuse a pipeline without a decoder, which would fail only after its last step.

    Args:
        pipe: a pipeline.
        call: the call arguments that are given.

    Raises:
        ArgumentError: it was loaded without the VAE that decodes its outputs.
    """
    if "vae" in pipe.components and pipe.components["vae"] is None and call.get("output_type") != "latent":
        raise ArgumentError(
            f"pipe.vae: it is missing, so {type(pipe).__name__} cannot decode its outputs. Load the pipeline with it, "
            "or give output_type='latent'."
        )


def move_pipeline(pipe: Pipeline, device: str | torch.device | None) -> None:
    """Move a pipeline to a device, if one is given.

    Args:
        pipe: a pipeline.
        device: the device; None leaves the pipeline where it is.

    Raises:
        ArgumentError: there is no such device here, or no room on it.
    """
    if device is None:
        return
    try:
        pipe.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise ArgumentError(
            f"device: {type(pipe).__name__} cannot be moved to {str(device)!r}: {str(error).rstrip('.')}. Leave device "
            "out to use the pipeline where it is."
        ) from error
