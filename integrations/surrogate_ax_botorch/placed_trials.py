"""Ended trials of any round as rows of `CoefficientKernel`: each at coordinates that stand for its coefficients.

A trial's own coordinates are those of its round's box, of which the present box knows nothing. So it stands in a round
of its own, `TOLD`, at coordinates that are made up, and the geometry knows where its latent lies. K axes, n trials.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor

from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax_botorch.geometry import Box, Geometry, Placed

PRESENT, TOLD = 0, -1  # rounds as the kernel sees them: that of the box, and that of ended trials


def placed_trials(
    space: SurrogateSpace, terms: Sequence[Terms], tensors: Mapping[str, Tensor] | None = None
) -> tuple[Geometry, list[list[float]]]:
    """The geometry of a box and of ended trials, and the trials' rows (n, K): made-up coordinates, then the round.

    Args:
        space: the present box.
        terms: coefficient rows of n trials, of whatever rounds.
        tensors: inner rows (D,) of stored seeds that the space's bank does not know, by SHA-256.
    """
    n, placed, rows = len(terms), list[Placed](), list[list[float]]()
    for i, row in enumerate(terms, 1):
        u = [i / (n + 1)] * (space.axes - 1)
        placed.append(Placed(TOLD, u, row))
        rows.append([*u, float(TOLD)])
    return box_geometry(space, placed, tensors or {}), rows


def box_geometry(space: SurrogateSpace, placed: Sequence[Placed], tensors: Mapping[str, Tensor]) -> Geometry:
    """The geometry of a box and of trials.

    Args:
        space: the present box.
        placed: trials that it does not hold.
        tensors: as for `placed_trials`.
    """
    known: Mapping[str, Tensor] = ChainMap(cast(Any, tensors), cast(Any, space.bank.tensors))  # read when needed
    return Geometry(
        {PRESENT: Box(space.bank.terms(space.frame), space.chart.name, space.fresh)},
        placed,
        gram=lambda seeds: Bank(space.bank.prior, list(seeds), tensors=known).gram(np.eye(len(seeds))),
    )
