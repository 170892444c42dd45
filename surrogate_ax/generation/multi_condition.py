"""One latent under several conditions: the same noise for every prompt, judged by what all of them come to.

n latents, P conditions; the generator beneath makes n P items in one call, those of a latent beside each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.described import described
from surrogate_ax.generation.protocols import Generated, Generator, Outputs, Timed
from surrogate_ax.generation.row_check import wants_check
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.markup import one_line


class MultiCondition:
    """A generator whose output is what another one makes of a latent under each of several conditions.

    The score is given P outputs an item, to aggregate as it likes: arrays and tensors (n, P, ...), others as n lists.

    Args:
        generator: makes them; an item costs it P evaluations.
        conditions: P mappings of call arguments, `[{"prompt": "a cat"}, {"prompt": "a dog"}]`. They are part of the
            fingerprint; further arguments may be searched beside them.

    Raises:
        ArgumentError: not a generator, no conditions, or values that a record cannot hold.
    """

    def __init__(self, generator: Generator, conditions: Sequence[Condition]) -> None:
        if not isinstance(generator, Generator):
            raise ArgumentError(f"generator: expected a Generator, got {type(generator).__name__}.")
        if not conditions or not all(isinstance(condition, Mapping) for condition in conditions):
            raise ArgumentError(
                f"conditions: expected at least one mapping of call arguments, such as {{'prompt': 'a cat'}}, got "
                f"{conditions!r}."
            )
        try:
            self._described = json.dumps([dict(condition) for condition in conditions], sort_keys=True)
        except TypeError as error:
            raise ArgumentError(f"conditions: expected texts, numbers and booleans; {error}.") from error
        self._generator = generator
        self._conditions = [dict(condition) for condition in conditions]

    def __repr__(self) -> str:
        return one_line("MultiCondition", self._generator, f"{len(self._conditions)} conditions")

    def _repr_html_(self) -> str:
        return described(self)

    @property
    def prior(self) -> Prior:
        """The law of its latents."""
        return self._generator.prior

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The generator's, and the conditions."""
        return {**self._generator.fingerprint, "under each of": self._described}

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of each output, None where they do not last."""
        return self._generator.rate if isinstance(self._generator, Timed) else None

    @property
    def check_rows(self) -> bool:
        """Whether a search looks at rows alone: as for the generator."""
        return wants_check(self._generator)

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """P outputs for each of n latents, in one call of the generator.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings of further call arguments.

        Returns:
            Outputs, and the cost of all P by item; an item of which one fails has failed.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            ArgumentError: a condition that is given for every latent already.
        """
        parts, p = check_latents(z, self.prior), len(self._conditions)
        n = check_conditions(parts, conditions)
        given = {name for condition in self._conditions for name in condition}
        twice = sorted(given & {name for condition in conditions for name in condition})
        if twice:
            raise ArgumentError(
                f"conditions: {twice[0]} is given to every latent by MultiCondition and cannot be set beside."
            )
        each = [{**condition, **mine} for condition in conditions for mine in self._conditions]
        made = self._generator.generate({name: x.repeat_interleave(p, dim=0) for name, x in parts.items()}, each)
        failed = {k // p: f"under {self._conditions[k % p]}: {reason}" for k, reason in sorted(made.failed.items())}
        present = [k for k in range(n * p) if k not in made.failed]
        kept = [at for at, k in enumerate(present) if k // p not in failed]
        nfe = np.asarray(made.nfe).reshape(n, p).sum(axis=1)
        return Generated(_grouped(made.outputs, kept, p), nfe, made.seconds, failed)


def _grouped(outputs: Outputs, kept: Sequence[int], p: int) -> Outputs:
    """Chosen outputs, p to an item."""
    if isinstance(outputs, np.ndarray | torch.Tensor):
        chosen = outputs[list(kept)]
        return chosen.reshape(len(kept) // p, p, *chosen.shape[1:])
    return [[outputs[at] for at in kept[i : i + p]] for i in range(0, len(kept), p)]
