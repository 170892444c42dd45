"""The boxes that an experiment has opened: a trial's parameter `round` numbers a box, recorded with its frame.

Every trial so is a point (box, u) of the design, and its latent follows from the record: exact proposals are corners,
plain draws are points of a box whose share of fresh noise is 1. A round has a box of its own, and others where it has
proposals that are none of its axes. For the usual plan there is one a round, and both have the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ax.core.experiment import Experiment
from torch import Tensor

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import chart_named
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, Seed, Stored, Terms, seed_from_json, seed_to_json
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax.policies.history import Round
from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import LAST_BOX, ROUND

Record = Mapping[str, Any]


def begin_round(experiment: Experiment, round: Round, *, axes: int) -> bool:
    """Record a round's boxes, its own as the one in play, or refuse one that is not the experiment's.

    Args:
        experiment: of ours.
        round: with its space and number.
        axes: K of the experiment.

    Returns:
        Whether anything was new.

    Raises:
        MismatchError: another K than the experiment's, or another space than its round was begun with.
        ArgumentError: more boxes than the parameter has values.
    """
    if round.space.axes != axes:
        raise MismatchError(
            f"policy: the client was configured with K = {axes} axes, and its parameters stay the same for "
            f"life, got K = {round.space.axes}. Use a policy of the same K, or a new Client."
        )
    properties, before = experiment._properties, len(opened(experiment))
    mine = [box for box in opened(experiment).values() if (box["round"], box["box"]) == (round.number, 0)]
    if mine and mine[0]["fingerprint"] != round.space.fingerprint:
        raise MismatchError(
            f"space: round {round.number} of the client was begun with {mine[0]['fingerprint']}, "
            f"got {round.space.fingerprint}. Use the same space, seeds and rng, or a new Client."
        )
    number, *_ = [open_box(experiment, round, box) for box in range(len(round.boxes))]
    changed = properties.get(records.CURRENT) != number or len(opened(experiment)) > before
    properties[records.CURRENT] = number
    return changed


def open_box(experiment: Experiment, round: Round, box: int) -> int:
    """The number of a round's box, which is recorded if it is new.

    Args:
        experiment: of ours.
        round: in play.
        box: which of its boxes.

    Raises:
        ArgumentError: more boxes than the parameter has values.
    """
    space, known = round.boxes[box], opened(experiment)
    for number, record in known.items():
        if record["round"] == round.number and record["fingerprint"] == space.fingerprint:
            return number
    free = (
        round.number
        if box == 0 and round.number not in known and round.number <= LAST_BOX
        else 1 + max(known, default=-1)
    )
    if free > LAST_BOX:
        raise ArgumentError(f"policy: an experiment holds boxes 0 to {LAST_BOX}, and all are used. Use a new Client.")
    properties = experiment._properties
    written = {**space_to_json(space), "round": round.number, "box": box}
    properties.setdefault(records.SPACES, {})[str(free)] = written
    measure_gram(properties.setdefault(records.GRAM, {}), space.bank)
    return free


def opened(experiment: Experiment) -> dict[int, Record]:
    """The recorded boxes by number; before there were several a round, a box had its round's number."""
    spaces = experiment._properties.get(records.SPACES, {})
    return {int(n): {"round": int(n), "box": 0, **record} for n, record in spaces.items()}


def place(experiment: Experiment, round: Round, proposal: int) -> dict[str, Any]:
    """The parameters of a round's proposal, without its condition: a corner of a box, opened if it is new."""
    box, u = round.place(proposal)
    named = dict(zip(coordinate_names(round.space.axes), u.tolist(), strict=True))
    return {**named, ROUND: open_box(experiment, round, box)}


def terms_at(
    experiment: Experiment,
    params: Mapping[str, Any],
    draw: Draw,
    prior: Prior,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    round: Round | None = None,
) -> tuple[Terms, int]:
    """The coefficient row of a point, and the round that its box belongs to.

    Args:
        experiment: of ours.
        params: of a trial.
        draw: of this trial alone, for boxes with fresh noise.
        prior: the law of the latents; its record will do.
        tensors: inner rows (D,) of stored seeds.
        round: the one in play, whose boxes need not be read back.

    Raises:
        ArgumentError: no such box, or a coordinate outside it.
    """
    number = params.get(ROUND)
    record = opened(experiment).get(-1 if number is None else int(number))
    if record is None:
        known = sorted(opened(experiment))
        raise ArgumentError(f"round: expected the number of a box that the search has opened, {known}, got {number}.")
    if round is not None and record["round"] == round.number:
        for i, space in enumerate(round.boxes):
            if space.fingerprint == record["fingerprint"]:
                return round.point(params, draw, i), round.number
    rebuilt = Round(read_space(record, prior, tensors), record["round"], 1)
    return rebuilt.point(params, draw), record["round"]


def space_to_json(space: SurrogateSpace, *, bank: bool = False) -> dict[str, Any]:
    """A box's frame as terms, with what says which space it is; latents are not needed to place points.

    Args:
        space: the box.
        bank: name every seed of its bank, also those that no axis takes, so that the fingerprint can be checked.
    """
    rows = [[[*seed_to_json(seed), c] for seed, c in terms] for terms in space.bank.terms(space.frame)]
    made = {"fingerprint": space.fingerprint, "chart": space.chart.name, "fresh": space.fresh, "frame": rows}
    return made | ({"seeds": [seed_to_json(seed) for seed in space.bank.seeds]} if bank else {})


def read_space(record: Record, prior: Prior, tensors: Mapping[str, Tensor] | None = None) -> SurrogateSpace:
    """The inverse of `space_to_json`.

    Args:
        record: what it wrote.
        prior: the law of the latents.
        tensors: inner rows (D,) of stored seeds.
    """
    frame = frame_terms(record)
    seeds = list(map(seed_from_json, record.get("seeds", [])))
    bank = Bank(prior, seeds, tensors=tensors).extend([seed for row in frame for seed, _ in row])
    return SurrogateSpace(bank, bank.rows(frame).toarray(), chart_named(record["chart"]), float(record["fresh"]))


def frame_terms(record: Record) -> list[Terms]:
    """The axes of a recorded space."""
    return [tuple((seed_from_json(term[:-1]), float(term[-1])) for term in row) for row in record["frame"]]


def seed_name(seed: Seed) -> str:
    """A seed in one word, as a key."""
    return f"{seed.entropy}/{seed.index}" if isinstance(seed, Draw) else seed.sha256


def measure_gram(gram: dict[str, dict[str, float]], bank: Bank) -> None:
    """Note the inner products of a bank's stored seeds with all its seeds: no client can measure them later.

    Args:
        gram: what is known, by seed; added to.
        bank: with tensors.
    """
    stored = [m for m, seed in enumerate(bank.seeds) if isinstance(seed, Stored)]
    if not stored:
        return
    names, measured = [seed_name(seed) for seed in bank.seeds], bank.gram(np.eye(len(bank.seeds)))
    for m in stored:
        for n, name in enumerate(names):
            gram.setdefault(names[m], {})[name] = gram.setdefault(name, {})[names[m]] = round(float(measured[m, n]), 9)
