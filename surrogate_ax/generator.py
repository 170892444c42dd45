"""What turns latents into outputs: the protocols, and a generator made of a plain function.

A generator is a black box with a prior. Further abilities (inversion, stepping, remaking latents where it runs) are
separate protocols that a class has or has not, so that `isinstance` tells the truth.
n items a call; NFE (network function evaluations) are the cost unit: denoiser rows evaluated for an item, doubled
under classifier-free guidance.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

from surrogate_ax.bank import Terms
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.priors import Gaussian, Latents, Prior, check_latents

Array = np.ndarray
Condition = Mapping[str, Any]  # call arguments of one item
Outputs = Sequence[Any] | Array | Tensor  # one entry an item, in order
S = TypeVar("S")


@dataclass(frozen=True)
class Generated:
    """What one call of a generator gave.

    Args:
        outputs: one entry per item that did not fail, in order.
        nfe: (n,) denoiser rows evaluated for each item, failed ones included.
        seconds: wall time of the call.
        failed: reason by item number, for items that have no output.
    """

    outputs: Outputs
    nfe: Array
    seconds: float
    failed: Mapping[int, str] = field(default_factory=dict)


@runtime_checkable
class Generator(Protocol):
    """Latents and conditions to outputs, a batch a call."""

    @property
    def prior(self) -> Prior:
        """The law of its latents."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What makes it this generator, by named part ("weights", "scheduler", "prior", ...)."""
        ...

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Outputs of n latents under n conditions; equal conditions are batched by the generator."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """A generator that can find the latents of given items."""

    def invert(self, items: Outputs, conditions: Sequence[Condition]) -> tuple[Latents, Array, Array]:
        """Latents of n items, their reconstruction errors (n,) and NFE (n,)."""
        ...


@runtime_checkable
class Steppable(Protocol[S]):
    """A generator that can stop between steps, drop or merge rows, and go on. S holds rows at one step.

    States are values: no method changes those that it is given.
    """

    @property
    def steps(self) -> int:
        """T, the steps of a whole trajectory."""
        ...

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> S:
        """Rows at `step`."""
        ...

    def advance(self, state: S, to: int) -> S:
        """The same rows at a later step."""
        ...

    def select(self, states: Sequence[S], rows: Sequence[tuple[int, int]]) -> S:
        """Chosen (state, row) pairs of states at the same step, as one state."""
        ...

    def estimate(self, state: S) -> Outputs:
        """Decoded estimates x̂ of the final outputs, one a row; None for a row that has none."""
        ...

    def nfe(self, state: S) -> Array:
        """NFE spent so far, by row."""
        ...

    def finish(self, state: S) -> Generated:
        """The final outputs; the NFE are those of the whole trajectory, the seconds those of this call."""
        ...


@runtime_checkable
class FromTerms(Protocol):
    """A generator that remakes latents where it runs: keys and coefficients travel, tensors do not."""

    def generate_terms(self, terms: Sequence[Terms], conditions: Sequence[Condition]) -> Generated:
        """As `generate`, from the terms of n recipes."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A generator of sound or clips."""

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of its outputs, None where they do not last."""
        ...


class FunctionGenerator:
    """A plain function as a generator.

    Args:
        function: called as `function(z)`, or `function(z, conditions)` with `conditional=True`; z is a float32 tensor
            (n, *shape), or a mapping of named parts when the prior has several. Returns n outputs.
        prior: the law of its latents, or the shape of one latent (standard normal entries).
        nfe: cost of one item.
        conditional: whether the function takes the conditions as a second argument.
        revision: your name for this version of the function; a study refuses to go on with another one.
        rate: samples or frames a second of outputs that are sound or clips, for previews.

    Raises:
        ArgumentError: the function is not callable, the prior neither a prior nor a shape, or `nfe` negative.
    """

    def __init__(
        self,
        function: Callable[..., Outputs],
        prior: Prior | tuple[int, ...],
        *,
        nfe: float = 1.0,
        conditional: bool = False,
        revision: str = "1",
        rate: float | None = None,
    ) -> None:
        if not callable(function):
            raise ArgumentError(f"function: expected something callable, got {type(function).__name__}.")
        if not isinstance(prior, tuple | Prior):
            raise ArgumentError(
                f"prior: expected a Prior, or the shape of one latent as a tuple, got {type(prior).__name__}."
            )
        if rate is not None and not 0 < rate < float("inf"):
            raise ArgumentError(f"rate: expected a positive number a second, got {rate}.")
        if not nfe >= 0:
            raise ArgumentError(f"nfe: expected the cost of one item, at least 0, got {nfe}.")
        self._function = function
        self._prior: Prior = Gaussian(prior) if isinstance(prior, tuple) else prior
        self._nfe = nfe
        self._conditional = conditional
        self._revision = revision
        self.rate = rate

    @property
    def prior(self) -> Prior:
        """The law of its latents."""
        return self._prior

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The function's qualified name, the revision and the prior."""
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        module = getattr(self._function, "__module__", "")
        return {"function": f"{module}.{name}", "revision": self._revision, "prior": self._prior.fingerprint}

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """One call of the function.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings; must be empty unless `conditional=True`.

        Returns:
            n outputs and their cost.

        Raises:
            ShapeError: wrong latents, or not n conditions, or not n outputs.
            ArgumentError: conditions for a function that takes none.
        """
        parts = check_latents(z, self._prior)
        n = check_conditions(parts, conditions)
        if not self._conditional and any(conditions):
            raise ArgumentError(
                "conditions: this function takes none; build it with FunctionGenerator(conditional=True)."
            )
        argument = next(iter(parts.values())) if len(parts) == 1 else parts
        clock = time.perf_counter()
        outputs = self._function(argument, conditions) if self._conditional else self._function(argument)
        seconds = time.perf_counter() - clock
        if len(outputs) != n:
            raise ShapeError(f"function: expected n = {n} outputs, one a latent, got {len(outputs)}.")
        return Generated(outputs, np.full(n, self._nfe), seconds)


def check_conditions(z: Latents, conditions: Sequence[Condition]) -> int:
    """The batch size n of latents, after checking that there are n conditions.

    Raises:
        ShapeError: another number of conditions than of latents.
        ArgumentError: conditions that are no mappings.
    """
    n = next(iter(z.values())).shape[0]
    if len(conditions) != n:
        raise ShapeError(f"conditions: expected n = {n}, one a latent, got {len(conditions)}.")
    given: Sequence[object] = conditions
    wrong = next((type(condition).__name__ for condition in given if not isinstance(condition, Mapping)), None)
    if wrong is not None:
        raise ArgumentError(
            f"conditions: expected one mapping an item, as [{{'prompt': 'a car'}}, ...], got {wrong} among them."
        )
    return n


def group(conditions: Sequence[Condition], *, apart: frozenset[str] = frozenset()) -> list[tuple[Condition, list[int]]]:
    """Items that one call can serve: those whose conditions agree but for the arguments in `apart`.

    Args:
        conditions: n mappings.
        apart: arguments that may differ inside a call, as a list of prompts may.

    Returns:
        (shared condition, item numbers) pairs in order of first appearance.
    """
    groups: dict[Hashable, tuple[Condition, list[int]]] = {}
    for i, condition in enumerate(conditions):
        shared = {name: value for name, value in condition.items() if name not in apart}
        key = json.dumps(shared, sort_keys=True, default=lambda value: f"{type(value).__name__}@{id(value)}")
        groups.setdefault(key, (shared, []))[1].append(i)
    return list(groups.values())
