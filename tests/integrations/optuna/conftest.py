"""What the tests of the Optuna host share: a generator whose outputs are its latents, and studies in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from torch import Tensor

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax.latents.priors import Prior

D = 32


class Identity:
    """A function that returns its latents and keeps the size of every call; `watch` sees each batch first."""

    def __init__(self, watch: Callable[[Tensor], None] | None = None) -> None:
        self.sizes: list[int] = []
        self.conditions: list[Mapping[str, Any]] = []
        self.watch = watch

    def __call__(self, z: Tensor, conditions: Sequence[Mapping[str, Any]] = ()) -> Tensor:
        self.sizes.append(len(z))
        self.conditions.extend(conditions)
        if self.watch is not None:
            self.watch(z)
        return z.clone()


class IdentityGenerator(FunctionGenerator):
    """A generator whose outputs are its latents."""

    def __init__(
        self,
        *,
        watch: Callable[[Tensor], None] | None = None,
        prior: Prior | tuple[int, ...] = (D,),
        conditional: bool = False,
        revision: str = "1",
    ) -> None:
        self.function = Identity(watch)
        super().__init__(self.function, prior, conditional=conditional, revision=revision, check_rows=False)

    @property
    def sizes(self) -> list[int]:
        """Items of each call so far."""
        return self.function.sizes


def first_entry(outputs: Tensor, conditions: object = None) -> np.ndarray:
    return outputs.flatten(1)[:, 0].double().numpy()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def make_generator() -> type[IdentityGenerator]:
    return IdentityGenerator


@pytest.fixture
def make_study() -> Callable[..., optuna.Study]:
    def make(sampler: BaseSampler | None = None, **options: Any) -> optuna.Study:
        options = {"direction": "maximize"} | options if "directions" not in options else options
        return optuna.create_study(sampler=sampler or RandomSampler(seed=0), **options)

    return make


@pytest.fixture
def objective() -> Objective:
    return Objective(Metric("first"), score=first_entry)
