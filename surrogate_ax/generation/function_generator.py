"""A plain function as a generator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.described import described
from surrogate_ax.generation.function_identity import function_parts
from surrogate_ax.generation.protocols import Generated, Outputs
from surrogate_ax.latents.priors import Gaussian, Latents, Prior, check_latents
from surrogate_ax.markup import one_line


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
        check_rows: whether a search generates the first row of its first batch once more, alone, and warns where it is
            another one than in the batch.

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
        check_rows: bool = True,
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
        self._parts = function_parts(function)
        self.rate = rate
        self.check_rows = check_rows

    def __repr__(self) -> str:
        return one_line("FunctionGenerator", self.fingerprint["function"], *self._prior.shapes.values())

    def _repr_html_(self) -> str:
        return described(self)

    @property
    def prior(self) -> Prior:
        """The law of its latents."""
        return self._prior

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The function's qualified name, the revision, the prior, and what `function_parts` reads of the function.

        It is read when the generator is made, and a comment or a docstring more does not change it.
        """
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        module = getattr(self._function, "__module__", "")
        named = {"function": f"{module}.{name}", "revision": self._revision, "prior": self._prior.fingerprint}
        return {**named, **self._parts}

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
