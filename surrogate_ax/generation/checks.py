"""What a generator of one's own has to have, checked where a search starts and where its first outputs come back.

Python's protocols are checked by the names that they ask for. Here the kinds are checked as well, and a class that has
only some of the methods of `Steppable` is refused: it would look like one that cannot stop, and nothing would be
stopped.
"""

from __future__ import annotations

import inspect
import json
import numbers
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.priors import Prior

_PARTS = ("prior", "fingerprint", "generate")
_METHODS = ("start", "advance", "select", "estimate", "nfe", "finish")
STEPPABLE = ("steps", *_METHODS)
_MEANT = 3  # names of `Steppable` from which on a class is meant to be one; fewer may be there by chance
_ABSENT = object()


def check_generator(generator: object) -> None:
    """Refuse a generator that lacks something, or has it in another kind than the protocols say.

    Args:
        generator: made by a user.

    Raises:
        ArgumentError: naming what is missing or of another kind.
    """
    kind = type(generator).__name__
    lacking = [name for name in _PARTS if _static(generator, name) is _ABSENT]
    if lacking or not callable(getattr(generator, "generate", None)):
        raise ArgumentError(
            f"generator: expected prior, fingerprint and generate(), got {kind}"
            f"{f', which lacks {_listed(lacking)}' if len(lacking) < len(_PARTS) else ''}. "
            "Wrap a function in FunctionGenerator, a diffusers pipeline with pipeline_generator."
        )
    given: Any = generator
    if isinstance(given.prior, type) or not isinstance(given.prior, Prior):
        raise ArgumentError(
            f"{kind}.prior: expected a Prior, got {_shown(given.prior)}. Gaussian(shape) is that of standard normal "
            "noise of a shape."
        )
    _check_fingerprint(given.fingerprint, kind)
    rate = getattr(given, "rate", None)
    if rate is not None and not (isinstance(rate, int | float | np.number) and 0 < rate < float("inf")):
        raise ArgumentError(f"{kind}.rate: expected samples or frames a second, or None, got {_shown(rate)}.")
    _check_steppable(given, kind)


def check_generated(generated: object, n: int) -> Generated:
    """What a generator returned for n items, its costs as an array.

    Args:
        generated: what `generate` or `finish` returned.
        n: items that it was asked for.

    Raises:
        ArgumentError: no `Generated`, or one whose `failed` does not name items by number.
        ShapeError: another number of outputs or costs than of items.
    """
    if not isinstance(generated, Generated):
        raise ArgumentError(
            f"generator: expected generate() to return Generated(outputs, nfe, seconds), got "
            f"{type(generated).__name__}. A function that returns outputs alone goes into FunctionGenerator."
        )
    failed: Any = generated.failed
    outputs: Any = generated.outputs
    nfe: Any = generated.nfe
    if not isinstance(failed, Mapping) or any(not isinstance(i, int | np.integer) or not 0 <= i < n for i in failed):
        raise ArgumentError(
            f"generator: expected failed to give reasons by item number, 0 to {n - 1}, got {_shown(failed)}."
        )
    wanted, got = n - len(failed), len(outputs) if hasattr(outputs, "__len__") else None
    if got != wanted:
        raise ShapeError(
            f"generator: expected {wanted} outputs, one for each of n = {n} items that did not fail, "
            f"got {type(outputs).__name__ if got is None else got}."
        )
    nfe = nfe.detach().cpu().numpy() if isinstance(nfe, torch.Tensor) else nfe
    if np.shape(nfe) != (n,):
        raise ShapeError(
            f"generator: expected nfe of shape (n,) = ({n},), got {np.shape(nfe)}; np.full({n}, cost) has one cost an "
            "item."
        )
    return replace(generated, nfe=np.asarray(nfe, dtype=np.float64))


def _check_fingerprint(fingerprint: Any, kind: str) -> None:
    if not isinstance(fingerprint, Mapping):
        raise ArgumentError(
            f"{kind}.fingerprint: expected texts by the name of their part, as {{'weights': 'v1'}}, got "
            f"{_shown(fingerprint)}."
        )
    for part, text in fingerprint.items():
        try:
            kept = isinstance(part, str) and json.loads(json.dumps(text, allow_nan=False)) == text
        except (TypeError, ValueError):
            kept = False
        if not kept:
            raise ArgumentError(
                f"{kind}.fingerprint: expected texts by the name of their part, as {{'weights': 'v1'}}, got "
                f"{part!r}: {_shown(text)}. A study could not read it back."
            )


def _check_steppable(generator: Any, kind: str) -> None:
    """Refuse some of the methods of `Steppable` without the others, and attributes where methods should be."""
    found = {name: value for name in STEPPABLE if (value := _static(generator, name)) is not _ABSENT}
    if len(found) < _MEANT:
        return
    missing = [name for name in STEPPABLE if name not in found]
    if missing:
        raise ArgumentError(
            f"generator: {kind} has {_listed(list(found))} but lacks {_listed(missing)}, so it could not be stopped "
            "between steps. Add what is missing, or remove the rest if it generates whole outputs only."
        )
    for name in _METHODS:
        if not callable(getattr(generator, name)):
            raise ArgumentError(f"{kind}.{name}: expected a method, got {_shown(getattr(generator, name))}.")
    steps = found["steps"]  # a property is asked later, as it may cost a call of the model
    told = isinstance(steps, numbers.Number | str | type(None)) or inspect.isroutine(steps)
    if told and not (_whole(steps) and steps >= 1):
        raise ArgumentError(
            f"{kind}.steps: expected the number of steps of a trajectory, at least 1, got {_shown(steps)}."
        )


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _static(generator: object, name: str) -> Any:
    """An attribute as it was defined, without running a property, which may cost a call of the model."""
    return inspect.getattr_static(generator, name, _ABSENT)


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _shown(value: Any) -> str:
    """A value for a message, with its type, and cut off where it is long."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
