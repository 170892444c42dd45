"""Rows of a pipeline's call that end in NaN or infinity, which a conversion to pictures would turn black."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from surrogate_ax_diffusers.patching import replaced

LATENTS = "the final latents hold NaN or infinity"
DECODED = "the decoded values hold NaN or infinity"


class FinalValues:
    """What the last step of a scheduler and the decoders returned inside a block."""

    def __init__(self) -> None:
        self.latents: Tensor | None = None  # (n, ...) of the last step; None where none was run
        self._decoded: list[Tensor] = []  # (rows,) whether each decoded row is finite

    def stepped(self, returned: Any) -> None:
        """Keep what a scheduler's step returned."""
        if isinstance(sample := _first(returned), Tensor):
            self.latents = sample

    def decoded(self, returned: Any) -> None:
        """Look at what a decoder returned."""
        if isinstance(values := _first(returned), Tensor):
            self._decoded.append(_finite_rows(values))

    def not_finite(self, n: int) -> dict[int, str]:
        """The reason by number of the items whose latents or decoded values are not finite.

        Args:
            n: items of the call; an item may have several rows, as frames that are decoded one by one.
        """
        reasons = _items(torch.cat(self._decoded), n, DECODED) if self._decoded else {}
        return reasons | (_items(_finite_rows(self.latents), n, LATENTS) if self.latents is not None else {})


@contextmanager
def watched(schedulers: Sequence[Any], decoders: Sequence[Any]) -> Iterator[FinalValues]:
    """Keeps the final values of one call inside the block.

    Args:
        schedulers: components of a pipeline.
        decoders: components with a method `decode`.
    """
    values = FinalValues()
    with ExitStack() as stack:
        for scheduler in schedulers:
            stack.enter_context(replaced(scheduler, "step", _shown_to(values.stepped, scheduler.step)))
        for decoder in decoders:
            stack.enter_context(replaced(decoder, "decode", _shown_to(values.decoded, decoder.decode)))
        yield values


def _shown_to(watch: Callable[[Any], None], function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)  # pipelines look at its signature
    def called(*args: Any, **kwargs: Any) -> Any:
        returned = function(*args, **kwargs)
        watch(returned)
        return returned

    return called


def _first(returned: Any) -> Any:
    """The first entry of a tuple or an output object; a tensor as it is."""
    members = returned.to_tuple() if hasattr(returned, "to_tuple") else returned
    return members[0] if isinstance(members, (tuple, list)) and members else members


def _finite_rows(values: Tensor) -> Tensor:
    return torch.isfinite(values).flatten(1).all(dim=1) if values.ndim > 1 else torch.isfinite(values).reshape(-1)


def _items(finite: Tensor, n: int, reason: str) -> dict[int, str]:
    if not len(finite) or len(finite) % n:
        return {}
    good = finite.reshape(n, -1).all(dim=1).tolist()
    return {i: reason for i in range(n) if not good[i]}
