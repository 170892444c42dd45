"""Text embeddings computed once per text, not once per batch.

Stands in for a pipeline's `encode_prompt` and remembers what it returned, by its arguments. A list of texts is put
together from the embeddings of its members, after a first check that the pipeline's own embedding of a list has the
same shapes (some families return position ids without a batch dimension, or pad to the longest text of the list).
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

BYTES = 256 << 20  # embeddings kept at most, the least recently used go first
_PLAIN = (str, int, float, bool, type(None), torch.device, torch.dtype)


class Embeddings:
    """`encode_prompt` with a memory. The pipeline's text encoders must not change while it is in use.

    Args:
        encode: the pipeline's bound `encode_prompt`.
    """

    def __init__(self, encode: Callable[..., Any]) -> None:
        self._encode = encode
        self._signature = inspect.signature(encode)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._separable: bool | None = None  # unknown until the first list

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `encode_prompt` returns for these arguments, as fresh copies."""
        arguments = self._signature.bind(*args, **kwargs).arguments
        n = max((len(value) for value in arguments.values() if isinstance(value, list)), default=1)
        if n == 1 or self._separable is False:
            return self._remember(arguments)
        rows = [{k: v[i] if isinstance(v, list) else v for k, v in arguments.items()} for i in range(n)]
        joined = _join([self._remember(row) for row in rows])
        if self._separable is None:
            whole = self._encode(**arguments)
            self._separable = joined is not None and _shapes(joined) == _shapes(whole)
            return whole
        return self._remember(arguments) if joined is None else joined

    def _remember(self, arguments: dict[str, Any]) -> Any:
        key = _key(arguments)
        if key is None:
            return self._encode(**arguments)
        if key not in self._kept:
            self._kept[key] = self._encode(**arguments)
            self._bytes += _size(self._kept[key])
            while self._bytes > BYTES and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        return _copy(self._kept[key])


def _key(arguments: dict[str, Any]) -> Hashable | None:
    """Arguments as a key, None if one of them is not plain (given embeddings, images)."""
    items: list[tuple[str, Any]] = []
    for name, value in arguments.items():
        values = tuple(value) if isinstance(value, list) else (value,)
        if not all(isinstance(each, _PLAIN) for each in values):
            return None
        items.append((name, (type(value).__name__, values)))
    return tuple(items)


def _join(rows: list[Any]) -> Any:
    """Outputs of single texts as the output of their list, or None where they do not fit together."""
    if not all(isinstance(row, tuple) and len(row) == len(rows[0]) for row in rows):
        return None
    joined: list[Any] = []
    for parts in zip(*rows, strict=True):
        if all(part is None for part in parts):
            joined.append(None)
        elif all(isinstance(part, Tensor) and part.shape == parts[0].shape for part in parts):
            joined.append(torch.cat(parts) if parts[0].shape[0] == 1 else parts[0])
        else:
            return None
    return tuple(joined)


def _shapes(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return [_shapes(part) for part in output]
    return tuple(output.shape) if isinstance(output, Tensor) else None


def _size(output: Any) -> int:
    if isinstance(output, (tuple, list)):
        return sum(_size(part) for part in output)
    return output.numel() * output.element_size() if isinstance(output, Tensor) else 0


def _copy(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)(_copy(part) for part in output)
    return output.clone() if isinstance(output, Tensor) else output
