"""Whether a row of a batch is what it is alone, and in one go: looked at once a search, in the first batch that ends.

A score belongs to a latent only if nothing else of its batch, and no stop between its steps, decides what the latent
makes. One row is generated once more, alone. A generator that cannot do that, or whose outputs are no numbers, is
searched all the same.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.generation.comparison import difference, numbers_of
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated, Generator, Outputs
from surrogate_ax.generation.scored import bare
from surrogate_ax.latents.deferred import rows_of
from surrogate_ax.latents.priors import Latents

_SAME = {"full": 2e-3, "rough": 5e-2}  # mean relative differences that kernels for two sizes of a batch make
_logger = logging.getLogger(__name__)


def wants_check(generator: Generator) -> bool:
    """Whether nobody else looks: what this project drives looks itself, and `check_rows = False` says not to.

    Args:
        generator: any.
    """
    ours = type(generator).__module__.startswith("surrogate_ax")
    return bool(getattr(generator, "check_rows", not ours))


class RowCheck:
    """Looks once at a row of a generator's, and warns by its name.

    Args:
        generator: of the search.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator, self._open = generator, wants_check(generator)
        self._begun: dict[int, tuple[Any, Latents]] = {}  # rows of one batch, by the identity of what they are for

    def batch(self, z: Latents, conditions: Sequence[Condition], made: Generated) -> None:
        """Look at the first row of a batch that was generated whole.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings.
            made: what came of them.
        """
        if self._open and len(conditions) > 1 and 0 not in made.failed:
            self._open = False
            row = {part: x.clone() for part, x in rows_of(z, [0]).items()}
            self._compare(row, conditions[0], made.outputs, f"in a batch of {len(conditions)}")

    def begin(self, items: Sequence[object], z: Latents) -> None:
        """Remember the latents of a batch that is going to be stopped between its steps.

        Args:
            items: n objects, which come back in `end`.
            z: named parts (n, *shape).
        """
        if self._open and not self._begun:
            rows = [{part: x[[i]] for part, x in z.items()} for i in range(len(items))]
            self._begun = {id(item): (item, row) for item, row in zip(items, rows, strict=True)}

    def end(self, items: Sequence[object], conditions: Sequence[Condition], made: Generated) -> None:
        """Look at the first of the rows that have ended.

        Args:
            items: n objects.
            conditions: n mappings.
            made: what came of them.
        """
        if not self._open or 0 in made.failed or not items:
            return
        _, row = self._begun.pop(id(items[0]), (None, None))
        self._begun = {}
        if row is not None:  # not of a batch that began later
            self._open = False
            how = f"in a batch of {len(items)} that was stopped between its steps"
            self._compare(row, conditions[0], made.outputs, how)

    def _compare(self, row: Latents, condition: Condition, outputs: Outputs, how: str) -> None:
        """Generate a row alone and compare it with the first of some outputs."""
        try:
            with _untouched([x.device for x in row.values()]):
                alone = self._generator.generate(row, [condition])
            change = difference(numbers_of(bare(alone.outputs)), numbers_of(bare(outputs)))
        except Exception as error:  # noqa: BLE001  the search itself may never need a row alone
            _logger.debug("Rows of a batch were not compared: %s", error)
            return
        if change > _SAME["rough" if _rough(outputs) else "full"]:
            _logger.warning(
                "%s: a latent gave another output alone than %s, by %.2g of its size. Either rows of a batch depend on "
                "each other (a norm over the batch, a module in training mode), or something draws noise or is carried "
                "from step to step. A score then belongs to the batch, and outputs cannot be made again. Make it work "
                "row by row; check_rows=False leaves this check out.",
                self._generator.fingerprint.get("function", type(self._generator).__name__),
                how,
                change,
            )


def _rough(outputs: Outputs) -> bool:
    """Whether outputs are of half precision, or of a GPU, where float32 may be rounded to TF32."""
    first = outputs[0]
    return isinstance(first, Tensor) and (first.device.type != "cpu" or first.dtype in (torch.half, torch.bfloat16))


@contextmanager
def _untouched(devices: Sequence[torch.device]) -> Iterator[None]:
    """The user's random numbers as they were, on the CPU and on GPUs; what is warned of is not the user's call."""
    gpus = {device.index or 0 for device in devices if device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  which a user's function may draw from
    with torch.random.fork_rng(sorted(gpus)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
