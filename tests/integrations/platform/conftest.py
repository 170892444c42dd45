"""What the tests of the Ax host share: a generator whose outputs are its latents, and quiet clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from ax.api.client import Client
from torch import Tensor

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax_platform import configure_experiment

D = 32
K = 4


class Identity:
    """A function that returns its latents and keeps the size of every call; `watch` sees each batch first."""

    def __init__(self, watch: Callable[[Tensor], None] | None = None) -> None:
        self.sizes: list[int] = []
        self.watch = watch

    def __call__(self, z: Tensor, conditions: Sequence[Mapping[str, Any]] = ()) -> Tensor:
        self.sizes.append(len(z))
        if self.watch is not None:
            self.watch(z)
        return z.clone()


class IdentityGenerator(FunctionGenerator):
    """A generator whose outputs are its latents."""

    def __init__(self, *, watch: Callable[[Tensor], None] | None = None, **options: Any) -> None:
        self.function = Identity(watch)
        super().__init__(self.function, options.pop("prior", (D,)), check_rows=False, **options)

    @property
    def sizes(self) -> list[int]:
        """Items of each call so far."""
        return self.function.sizes


def first_entry(outputs: Tensor, conditions: object = None) -> np.ndarray:
    return outputs.flatten(1)[:, 0].double().numpy()


def three(outputs: Tensor, conditions: object = None) -> dict[str, np.ndarray]:
    rows = outputs.flatten(1).double().numpy()
    return {"first": rows[:, 0], "second": rows[:, 1], "third": rows[:, 2]}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _few_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the acquisition's optimiser, of which Ax does 20 from 1,024 points: nearly all the time of a search."""
    where = "ax.generators.torch.botorch_modular.optimizer_argparse"
    monkeypatch.setattr(f"{where}.NUM_RESTARTS", 2)
    monkeypatch.setattr(f"{where}.RAW_SAMPLES", 64)


@pytest.fixture
def make_generator() -> type[IdentityGenerator]:
    return IdentityGenerator


@pytest.fixture
def objective() -> Objective:
    return Objective(Metric("first"), score=first_entry)


@pytest.fixture
def several() -> Objective:
    return Objective(Metric("first"), Metric("second", "minimize"), Metric("third", "at_most", 1.0), score=three)


@pytest.fixture
def make_client(objective: Objective) -> Callable[..., Client]:
    def make(goal: Objective | None = None, **options: Any) -> Client:
        client = Client(random_seed=0, storage_config=options.pop("storage_config", None))
        generator = options.pop("generator", None) or IdentityGenerator()
        configure_experiment(client, generator, goal or objective, **{"seeds": K, "model": "ax"} | options)
        return client

    return make
