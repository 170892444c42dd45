"""A probe: a few rounded numbers of one small output, which show a change of a generator that none of its parts names.

Notation: x the output's values, r their root mean square, s_k (k = 1..K) fixed rows of random signs. A probe holds, for
each array that is looked at, r and the K sums s_k·x / (√n r). They move by about the relative change of the output.
Kernels differ between devices, so probes are compared within a tolerance, by device and precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogate_ax.arrays import Array

SIGNS = 4  # K
VALUES = 65_536  # looked at of an array, at most, evenly spaced
_FULL, _HALF = ("float32", "float64"), ("float16", "bfloat16")
_WITHIN = {"full": 2e-3, "half": 5e-2}  # one kind of device: threads and kernels
_ACROSS = {"full": 2e-2, "half": 1e-1}  # two kinds of device, or a GPU, whose kernels differ between models of it


def probe_text(arrays: Sequence[Array], *, device: str, dtype: str) -> str:
    """Arrays as a probe.

    Args:
        arrays: what the generator made of one fixed latent.
        device: the kind of device that it was made on ("cpu", "cuda").
        dtype: the precision that it was computed in ("float32").

    Returns:
        "<device> <dtype>: <numbers>".
    """
    numbers = [number for array in arrays for number in _summary(array)]
    return f"{device} {dtype}: {' '.join(numbers)}"


def same_probe(recorded: str, present: str) -> bool | None:
    """Whether two probes are of one generator, None where they cannot be compared.

    Args:
        recorded: what `probe_text` gave.
        present: the same, of the generator at hand.
    """
    before, after = _read(recorded), _read(present)
    if before is None or after is None or before[1] != after[1]:
        return None  # of two precisions, which another part names
    (device, dtype, a), (other, _, b) = before, after
    if a.shape != b.shape:
        return False
    limits = _WITHIN if device == other == "cpu" else _ACROSS
    tolerance = limits["full" if dtype in _FULL else "half"]
    rows, others = a.reshape(-1, SIGNS + 1), b.reshape(-1, SIGNS + 1)
    sizes = np.isclose(rows[:, 0], others[:, 0], rtol=tolerance, atol=1e-12, equal_nan=True)
    sums = np.isclose(rows[:, 1:], others[:, 1:], rtol=0, atol=2 * tolerance, equal_nan=True)
    return bool(sizes.all() and sums.all())


def _summary(array: Array) -> list[str]:
    flat = np.asarray(array, dtype=np.float64).reshape(-1)
    x = flat[:: max(1, -(-flat.size // VALUES))]
    size = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    signs = np.random.default_rng(0).integers(0, 2, size=(SIGNS, x.size)) * 2 - 1
    sums = signs @ x / (np.sqrt(max(x.size, 1)) * size) if size else np.zeros(SIGNS)
    return [f"{size:.4g}", *(f"{number + 0.0:.4f}" for number in sums)]


def _read(text: str) -> tuple[str, str, Array] | None:
    """Device, precision and numbers; None for a text that is no probe, as where none could be taken."""
    head, _, rest = text.partition(": ")
    words = head.split(" ")
    try:
        numbers = np.array([float(number) for number in rest.split()])
    except ValueError:
        return None
    known = len(words) == 2 and words[1] in (*_FULL, *_HALF) and numbers.size > 0 and numbers.size % (SIGNS + 1) == 0
    return (words[0], words[1], numbers) if known else None
