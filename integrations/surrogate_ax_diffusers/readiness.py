"""What a pipeline needs to be called, found out before anything runs: its parts and the size asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def check_size(pipe: Pipeline, family: Family, call: Mapping[str, Any]) -> None:
    """Refuse a height or width that the pipeline would change on its own.

    Args:
        pipe: a pipeline.
        family: its row of the table.
        call: its call arguments.

    Raises:
        ArgumentError: not a multiple of what the family wants.
    """
    multiple = family.multiple * int(getattr(pipe, "vae_scale_factor", 0))
    for name in ("height", "width"):
        size = call.get(name)
        if multiple and isinstance(size, int) and size % multiple:
            lower = max(size // multiple, 1) * multiple
            raise ArgumentError(
                f"{name}: {type(pipe).__name__} needs a multiple of {multiple}, got {size}. Use {lower} or "
                f"{lower + multiple}."
            )
