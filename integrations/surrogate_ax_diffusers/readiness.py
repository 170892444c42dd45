"""What a pipeline needs to be called, found out before anything runs: its parts, device and the size asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers.families import Family, Pipeline

_ENCODES = ("text_encoder", "tokenizer")


def missing_encoder(pipe: Pipeline) -> str | None:
    """The name of a part that reads prompts and is not there; some pipelines do without.

    Args:
        pipe: a pipeline.
    """
    optional = getattr(pipe, "_optional_components", ())
    return next(
        (n for n, c in pipe.components.items() if c is None and n.startswith(_ENCODES) and n not in optional), None
    )


def check_size(pipe: Pipeline, family: Family, call: Mapping[str, Any], takes: Collection[str]) -> None:
    """Refuse a height or width that the pipeline would change or ignore on its own.

    Args:
        pipe: a pipeline.
        family: its row of the table.
        call: its call arguments.
        takes: the names of all that it has.

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
    if len(sizes) == 1 and {"height", "width"} <= set(takes):  # Stable Diffusion ignores one without the other
        (missing,) = {"height", "width"} - sizes.keys()
        raise ArgumentError(f"{missing}: expected it beside {next(iter(sizes))}, got only one of them. Give both.")


def check_decoder(pipe: Pipeline, call: Mapping[str, Any]) -> None:
    """Refuse a pipeline that would find out after its last step that it cannot decode.

    Args:
        pipe: a pipeline.
        call: its call arguments.

    Raises:
        ArgumentError: it was loaded without the decoder that its outputs need.
    """
    if "vae" in pipe.components and pipe.components["vae"] is None and call.get("output_type") != "latent":
        raise ArgumentError(
            f"pipe.vae: it is missing, so {type(pipe).__name__} cannot decode its outputs. Load the pipeline with it, "
            "or give output_type='latent'."
        )


def move(pipe: Pipeline, device: str | torch.device | None) -> None:
    """Move a pipeline, where a device is given.

    Args:
        pipe: a pipeline.
        device: where to; None leaves it where it is.

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
