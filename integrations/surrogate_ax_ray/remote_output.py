"""An output that stays in Ray's object store until somebody wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray

from surrogate_ax.generation.finite import copied


class RemoteOutput:
    """A reference to an output.

    Previews, and whatever else reads it as an array, fetch it. The store forgets it when the actor that made it ends.

    Args:
        reference: Ray's.
        shape: of an output that is an array or tensor; empty for any other.
    """

    def __init__(self, reference: Any, shape: tuple[int, ...] = ()) -> None:
        self.reference = reference
        self.shape = shape

    def get(self) -> Any:
        """The output, fetched."""
        return copied(ray.get(self.reference))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        output = self.get()
        array = np.asarray(output.numpy() if hasattr(output, "numpy") else output)
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        return f"RemoteOutput({self.reference.hex()[:16]}, shape={self.shape})"
