"""What a generator is, as a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surrogate_ax.generation.protocols import Encodable, Generator, Steppable
from surrogate_ax.markup import card

ABILITIES: Mapping[str, Any] = {"stops between steps": Steppable, "encodes given items": Encodable}


def described(generator: Generator) -> str:
    """A generator's parts, latents and abilities as HTML; it does not run."""
    shapes = ", ".join(f"{name} {shape}" for name, shape in generator.prior.shapes.items())
    able = ", ".join(words for words, protocol in ABILITIES.items() if isinstance(generator, protocol))
    return card(
        type(generator).__name__,
        {"latents": f"{shapes}; D = {generator.prior.dim}", "able": able, **generator.fingerprint},
    )
