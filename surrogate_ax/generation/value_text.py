"""Values as short texts that are equal in every process and on every device, for fingerprints."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SAMPLES = 4096  # values read of an array or tensor, at most, evenly spaced
LONG = 60  # characters, beyond which a text is cut and a digest stands behind it
_DEPTH = 6
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu|xla|meta)(:\d+)?")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, enum.Enum)


def is_setting(value: Any) -> bool:
    """Whether a value's contents can be told, and so belong to what a function depends on.

    Args:
        value: anything that a function refers to.
    """
    if isinstance(value, str):
        return _DEVICE.fullmatch(value) is None
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_setting(each) for each in value)
    if isinstance(value, dict):
        return all(is_setting(each) for each in value.values())
    known = (*_PLAIN, np.ndarray, np.generic, Tensor, nn.Module)
    return isinstance(value, known) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def value_text(value: Any) -> str:
    """A value as a text: its contents where they can be told, else its type.

    Args:
        value: anything.
    """
    text = _text(value, 0)
    return text if len(text) <= LONG else f"{text[: LONG - 30]}... {_digest(text.encode())}"


def _text(value: Any, depth: int) -> str:
    kind = type(value).__name__
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, torch.device) or (isinstance(value, str) and _DEVICE.fullmatch(value)):
        return "a device"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        return f"{kind} {tuple(value.shape)} {_digest(_sampled(value))}"
    if isinstance(value, np.ndarray):
        contents = _every(value).tobytes() if value.dtype != object else repr([_text(x, _DEPTH) for x in value.flat])
        return f"{kind} {value.shape} {_digest(contents if isinstance(contents, bytes) else contents.encode())}"
    if isinstance(value, nn.Module):
        return f"{kind} {weights_text(value)}"
    if depth < _DEPTH:
        inner = _contents(value, depth + 1)
        if inner is not None:
            return f"{'' if kind in ('list', 'tuple', 'dict') else kind}{inner}"
    return str(getattr(value, "__qualname__", kind))


def _contents(value: Any, depth: int) -> str | None:
    """The members of a container or dataclass, None for what is neither."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(each, depth) for each in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_text(each, depth) for each in value))}}}"
    if isinstance(value, dict):
        pairs = sorted((_text(name, depth), _text(each, depth)) for name, each in value.items())
        return f"{{{', '.join(f'{name}: {each}' for name, each in pairs)}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _text(getattr(value, field.name, None), depth) for field in dataclasses.fields(value)}
        return f"({', '.join(f'{name}={each}' for name, each in named.items())})"
    return None


def weights_text(module: nn.Module) -> str:
    """A digest over the kinds of a module's layers, and the names, shapes and spaced values of its weights and buffers.

    Args:
        module: any; weights on the meta device are known by name and shape.
    """
    digest = hashlib.sha256(" ".join(type(layer).__name__ for layer in module.modules()).encode())
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_sampled(tensor))
    return digest.hexdigest()[:12]


def _sampled(tensor: Tensor) -> bytes:
    """Bytes of evenly spaced values, the same on every device."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        return str(tensor.layout).encode()
    picked = tensor.detach().reshape(-1)[:: max(1, -(-tensor.numel() // SAMPLES))]
    return picked.cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _every(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.reshape(-1)[:: max(1, -(-array.size // SAMPLES))])


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:12]
