"""A cache of text embeddings: each text is embedded once, not once a batch.

It stands in for a pipeline's `encode_prompt` and keeps what that returned, by its arguments. What a list of texts gives
is put together from the embeddings of its members, once a first comparison has shown, for each way of calling, that the
pipeline makes the same of the list. Some do not: they return position ids without a batch dimension, put texts and
their negatives into one tensor, or pad to the longest text of the list. There the list's own embeddings are kept.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

BYTES = 256 << 20  # of embeddings, at most; the least recently used go first
_PLAIN = (str, int, float, bool, type(None), torch.device, torch.dtype)
_CLOSE = 1e-3  # joined embeddings and those of the list may differ by rounding


class EmbeddingCache:
    """An `encode_prompt` that embeds each text once. The pipeline's text encoders must not change while it is in use.

    Args:
        encode: the pipeline's bound `encode_prompt`.
        rows: its arguments that may be lists with one entry an item.
    """

    def __init__(self, encode: Callable[..., Any], rows: Collection[str]) -> None:
        self._encode = encode
        self._rows = rows
        self._signature = inspect.signature(encode)
        self._cache: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._separable: dict[Hashable, bool] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `encode_prompt` returns for these arguments, as fresh copies."""
        arguments = self._signature.bind(*args, **kwargs).arguments
        lists = {k: len(v) for k, v in arguments.items() if k in self._rows and isinstance(v, list)}
        n = max(lists.values(), default=1)
        way = (*sorted(lists), *(_key(v) for k, v in arguments.items() if k not in lists))
        if n == 1 or any(length != n for length in lists.values()) or self._separable.get(way) is False:
            return self._cached(arguments)
        joined = _join([self._cached({k: v[i] if k in lists else v for k, v in arguments.items()}) for i in range(n)])
        if way not in self._separable:
            self._separable[way] = joined is not None and _alike(joined, self._cached(arguments))
            return joined if self._separable[way] else self._cached(arguments)
        return self._cached(arguments) if joined is None else joined

    def _cached(self, arguments: dict[str, Any]) -> Any:
        key = _key(arguments)
        if key is None:
            return self._encode(**arguments)
        if key not in self._cache:
            given = {name: list(value) if isinstance(value, list) else value for name, value in arguments.items()}
            self._cache[key] = self._encode(**given)  # some write into the list they are given
            self._bytes += _size(self._cache[key])
            while self._bytes > BYTES and len(self._cache) > 1:
                self._bytes -= _size(self._cache.popitem(last=False)[1])
        self._cache.move_to_end(key)
        return _copy(self._cache[key])


def _key(value: Any) -> Hashable | None:
    """Arguments as a key, None if there is something in them that is not plain (given embeddings)."""
    if isinstance(value, dict):
        value = [each for item in value.items() for each in item]
    if isinstance(value, (list, tuple)):
        keys = [_key(each) for each in value]
        return None if None in keys else (type(value).__name__, *keys)
    if isinstance(value, Image.Image):
        return ("image", value.mode, value.size, hashlib.sha256(value.tobytes()).digest())
    return (type(value).__name__, value) if isinstance(value, _PLAIN) else None


def _join(rows: list[Any]) -> Any:
    """Outputs of single texts as the output of their list, or None where they do not fit together."""
    first = rows[0]
    if all(row is None for row in rows):
        return None
    if isinstance(first, tuple) and all(isinstance(row, tuple) and len(row) == len(first) for row in rows):
        columns = list(zip(*rows, strict=True))
        parts = [None if all(part is None for part in column) else _join(list(column)) for column in columns]
        fit = all(part is not None or column[0] is None for part, column in zip(parts, columns, strict=True))
        return tuple(parts) if fit else None
    if isinstance(first, list) and all(isinstance(row, list) and len(row) in (0, 1) for row in rows):
        return [part for row in rows for part in row]
    if isinstance(first, Tensor) and all(isinstance(row, Tensor) and row.shape == first.shape for row in rows):
        return torch.cat(rows) if first.ndim and first.shape[0] == 1 else first
    return None


def _alike(a: Any, b: Any) -> bool:
    """Whether two outputs are the same but for rounding."""
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and torch.allclose(a.float(), b.float(), _CLOSE, _CLOSE)
    return a is None and b is None


def _size(output: Any) -> int:
    if isinstance(output, (tuple, list)):
        return sum(_size(part) for part in output)
    return output.numel() * output.element_size() if isinstance(output, Tensor) else 0


def _copy(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)(_copy(part) for part in output)
    return output.clone() if isinstance(output, Tensor) else output
