"""What turns latents into outputs: the protocols.

A generator is a black box with a prior. Further abilities, such as stopping between steps, are separate protocols that
a class has or has not, so that `isinstance` tells the truth.
n items a call; NFE (network function evaluations) are the cost unit: denoiser rows evaluated for an item, doubled
under classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.latents.priors import Latents, Prior

Outputs = Sequence[Any] | Array | Tensor
"""One entry an item, in order."""
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
        """Outputs of n latents under n conditions; equal conditions are batched by the generator.

        Args:
            z: named parts (n, *shape) of n latents.
            conditions: call arguments of each, n of them; empty ones for a generator that takes none.
        """
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
        """Rows at `step`.

        Args:
            z: named parts (n, *shape): noise at step 0, undecoded rows at a later one.
            conditions: call arguments of each row, n of them.
            step: where the rows are, 0 to T.
        """
        ...

    def advance(self, state: S, to: int) -> S:
        """The same rows at a later step.

        Args:
            state: rows at a step.
            to: a step from there to T.
        """
        ...

    def select(self, states: Sequence[S], rows: Sequence[tuple[int, int]]) -> S:
        """Chosen (state, row) pairs of states at the same step, as one state.

        Args:
            states: at least one, all at the same step.
            rows: the number of a state and of a row in it, for each row wanted.
        """
        ...

    def latents(self, state: S) -> Latents:
        """Undecoded rows (n, *shape) in the prior's shapes, as `start(..., step=)` takes them at the same step.

        Args:
            state: rows at a step.
        """
        ...

    def estimate(self, state: S) -> Outputs:
        """Decoded estimates x̂ of the final outputs, one a row; None for a row that has none.

        Args:
            state: rows at a step.
        """
        ...

    def nfe(self, state: S) -> Array:
        """NFE spent so far, by row.

        Args:
            state: rows at a step.
        """
        ...

    def finish(self, state: S) -> Generated:
        """The final outputs; the NFE are those of the whole trajectory, the seconds those of this call.

        Args:
            state: rows at any step.
        """
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A steppable generator whose steps depend on some call arguments.

    Where one of them differs between rows, these cannot stop at the same step, and so not be stopped at all.
    """

    @property
    def schedule_arguments(self) -> frozenset[str]:
        """Names of these call arguments, such as `num_inference_steps`."""
        ...


@runtime_checkable
class Encodable(Protocol):
    """A generator whose outputs have latents: those that its loop ends with, in the prior's shapes."""

    def encode(self, items: Any) -> Latents:
        """Final latents (n, *shape) of n items of the kind that the generator makes.

        Args:
            items: n outputs, as `generate` gives them.
        """
        ...

    def decode(self, z: Latents) -> Outputs:
        """The outputs of n final latents.

        Args:
            z: named parts (n, *shape) of final latents.
        """
        ...


@runtime_checkable
class Masking(Protocol):
    """A generator whose final latents lie where their outputs do."""

    def latent_mask(self, region: Array) -> Latents:
        """1 for the entries (1, *shape) that belong to a region of an item, 0 elsewhere.

        Args:
            region: boolean, of the shape of one item without its channels; true where it belongs to the region.
        """
        ...


@runtime_checkable
class Noising(Protocol):
    """A steppable generator that knows the law of its rows between two steps."""

    def noised(self, x: Latents, eps: Latents, step: int) -> Latents:
        """Final latents x (n, *shape) at the noise level of `step`, with the prior's draws eps as the noise.

        Args:
            x: final latents (n, *shape).
            eps: draws of the prior (n, *shape).
            step: whose noise level is wanted, 0 to T.
        """
        ...


@runtime_checkable
class FromTerms(Protocol):
    """A generator that makes latents where its model runs: it is given `Deferred` ones, and sends keys, no tensors."""

    @property
    def from_terms(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A generator of sound or clips."""

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of its outputs, None where they do not last."""
        ...
