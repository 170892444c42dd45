"""What travels between a search and its actors: plain values, arrays and keys, which Ray serialises.

n rows of latents are seeds, columns, coefficients and where each row ends, as of a sparse matrix; a stored seed's
tensor goes to Ray's object store once, and a message names it. An error is its kind, its words and its trace.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax import errors
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.deferred import Deferred
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.latents.seeds import Seed, Stored, seed_from_json, seed_to_json

Message = dict[str, Any]


def pack_rows(z: Latents, put: Callable[[str, Tensor], Any]) -> Message:
    """Latents as a message.

    Args:
        z: named parts (n, *shape), made or not.
        put: takes the hash and the row of a stored seed, and gives what stands for it.
    """
    if not isinstance(z, Deferred):
        return {"parts": {name: part.detach().cpu() for name, part in z.items()}}
    number: dict[Seed, int] = {}
    columns = [number.setdefault(seed, len(number)) for row in z.terms for seed, _ in row]
    stored = [seed.sha256 for seed in number if isinstance(seed, Stored)]
    return {
        "seeds": [seed_to_json(seed) for seed in number],
        "columns": np.array(columns, dtype=np.int64),
        "coefficients": np.array([c for row in z.terms for _, c in row]),
        "sizes": [len(row) for row in z.terms],
        "stored": {sha256: put(sha256, z.bank.tensors[sha256]) for sha256 in stored},
    }


def unpack_rows(message: Message, prior: Prior, tensors: Mapping[str, Tensor], device: str) -> Latents:
    """The inverse of `pack_rows`, on a device.

    Args:
        message: of `pack_rows`.
        prior: the law of the latents.
        tensors: rows of stored seeds, by their hashes.
        device: where they are made.
    """
    if "parts" in message:
        return {name: torch.as_tensor(part).clone() for name, part in message["parts"].items()}
    seeds = [seed_from_json(seed) for seed in message["seeds"]]
    terms = [(seeds[m], float(c)) for m, c in zip(message["columns"], message["coefficients"], strict=True)]
    ends = np.cumsum([0, *message["sizes"]]).tolist()
    rows = [tuple(terms[a:b]) for a, b in pairwise(ends)]
    return Bank(prior, tensors=tensors, device=device).latents_of(rows)


def pack_error(error: BaseException) -> Message:
    """An error as a message."""
    return {"raised": type(error).__name__, "says": str(error), "trace": "".join(traceback.format_exception(error))}


def unpack_error(message: Message) -> Exception:
    """The error of a message: one of this package's, of torch's memory, or of Python's own, else a `GenerationError`.

    Args:
        message: of `pack_error`.
    """
    name, says = message["raised"], message["says"]
    kind = torch.OutOfMemoryError if name == "OutOfMemoryError" else vars(errors).get(name, vars(builtins).get(name))
    error: Exception = errors.GenerationError(f"{name}: {says}")
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):  # one that takes more than words, such as UnicodeDecodeError
            error = kind(says)
    error.__cause__ = RuntimeError(message["trace"])
    return error


def sendable(outputs: Any) -> Any:
    """Outputs without what only the actor's own memory holds: tensors on the CPU, without their gradients.

    Args:
        outputs: n outputs, or a part of one.
    """
    if isinstance(outputs, Tensor):
        return outputs.detach().cpu()
    if type(outputs) in (list, tuple):
        return type(outputs)(sendable(output) for output in outputs)
    if type(outputs) is dict:
        return {name: sendable(output) for name, output in outputs.items()}
    return outputs


def listed(outputs: Any) -> Sequence[Any]:
    """Outputs one by one."""
    return [outputs[i] for i in range(len(outputs))]
