"""What a search takes over of earlier ones: from what a study holds to a source that policies learn from."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from surrogate_ax.checks import show
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError
from surrogate_ax.execution.records import SearchRecord, refuse_old_seeds
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Stored
from surrogate_ax.policies.sources import Source
from surrogate_ax.policies.targets import gp_targets
from surrogate_ax.policies.warm import taken

FEWEST = 4  # trials with a result, below which nothing is learnt
FAMILY = ("prior", "pipeline", "function")  # parts of a fingerprint without which a latent means something else
_logger = logging.getLogger(__name__)


class Earlier(NamedTuple):
    """An earlier search.

    Args:
        name: what it is called.
        record: what `read_record` gives of it.
    """

    name: str
    record: SearchRecord


def source_of(earlier: Earlier, generator: Generator) -> Source:
    """What is taken over of an earlier search, whatever it optimised, under whatever prompt and steps.

    Args:
        earlier: the search.
        generator: of the present search, of the same prior and family.

    Raises:
        ArgumentError: fewer than four of its trials have a result.
        MismatchError: latents of another prior or family of generators, or seeds of an earlier version of recipes.
        SeedError: its stored seeds are not where it says.
    """
    name, record = earlier
    _check_family([trial.recipe.generator for trial in record.trials], generator, name)
    try:
        refuse_old_seeds(record.trials)
    except MismatchError as error:
        raise MismatchError(f"warm: {name} cannot be learnt from. {error}") from error
    history = dataclasses.replace(record.history, preferences=())
    values = {**history.extrapolated(), **history.expected} if not history.estimates else history.extrapolated()
    extrapolated = dataclasses.replace(history, values=values, estimates={}, expected={})
    known = np.flatnonzero(np.isfinite(history.objective.losses(extrapolated.values)).all(axis=1))
    if len(known) < FEWEST:
        raise ArgumentError(
            f"warm: expected a search of at least {FEWEST} trials with a result, {name} has {len(known)}. Leave it out."
        )
    rows = extrapolated.rows(known)
    source = taken(rows, gp_targets(rows), name)
    _check_seeds(source, record.history.tensors, generator, name)
    return source


def stored_seeds(sources: Sequence[Source], records: Sequence[SearchRecord], generator: Generator) -> Bank:
    """A bank of the stored seeds of sources, with their tensors, for the present study to keep.

    Args:
        sources: what is taken over.
        records: of the same searches, in order.
        generator: of the present search.
    """
    bank = Bank(generator.prior)
    for source, record in zip(sources, records, strict=True):
        bank = bank.extend([record.history.tensors[seed.sha256] for seed in _stored(source)])
    return bank


def check_same(given: Sequence[Source], recorded: Sequence[Source], *, study: str) -> None:
    """Refuse other earlier searches than a study was begun with.

    Args:
        given: by the present call; none goes on with the recorded ones.
        recorded: by the study.
        study: what it is called, for messages.

    Raises:
        MismatchError: other names.
    """
    names, known = [source.name for source in given], [source.name for source in recorded]
    if given and names != known:
        begun = f"with {known}" if known else "without any"
        raise MismatchError(
            f"warm: {study} was begun {begun}, got {names}. What was taken over stands in the study, so leave `warm` "
            "out to go on; begin a new study to change it."
        )


def earlier_searches(warm: Any, read: Callable[[Any], Earlier | None], *, expected: str) -> list[Earlier]:
    """What was given as `warm`, read.

    Args:
        warm: a sequence of searches, as a host knows them, or as records.
        read: of what the host knows; None of anything else.
        expected: what the host knows, for messages.

    Raises:
        ArgumentError: something else, or one that is given alone.
    """
    if not isinstance(warm, list | tuple):
        raise ArgumentError(f"warm: expected a list of {expected}, or records of `read_record`, got {show(warm)}.")
    found = list[Earlier]()
    for number, given in enumerate(warm, start=1):
        named = Earlier(f"record {number}", given) if isinstance(given, SearchRecord) else given
        earlier = named if isinstance(named, Earlier) else read(given)
        if earlier is None:
            raise ArgumentError(
                f"warm: expected {expected}, or records of `read_record`, number {number} is {show(given)}."
            )
        found.append(earlier)
    return found


def _stored(source: Source) -> list[Stored]:
    return list(dict.fromkeys(seed for row in source.terms for seed, _ in row if isinstance(seed, Stored)))


def _check_family(recorded: Sequence[Mapping[str, str]], generator: Generator, name: str) -> None:
    """Refuse latents that mean something else; the same family with other weights is learnt from, and said."""
    present = generator.fingerprint
    for fingerprint in {repr(sorted(each.items())): each for each in recorded}.values():
        for part in FAMILY:
            before, now = fingerprint.get(part, present.get(part)), present.get(part)
            if before != now:
                raise MismatchError(
                    f"warm: {name} was made with another generator, whose latents mean something else ({part}: "
                    f"{before} -> {now}). Other prompts, steps and scores are fine; leave this search out."
                )
        if fingerprint.get("weights", present.get("weights")) != present.get("weights"):
            _logger.warning("warm: %s was made with other weights; how much it is worth is learnt.", name)


def _check_seeds(source: Source, tensors: Mapping[str, Any], generator: Generator, name: str) -> None:
    stored = _stored(source)
    missing = [seed for seed in stored if seed.sha256 not in tensors]
    if missing:
        where = f"{tensors!r} has no tensor of it" if isinstance(tensors, SeedStore) else "no store was found"
        raise SeedError(
            f"warm: {name} has {len(stored)} stored seeds, {missing[0]} among them, and {where}. Give what "
            "`read_record(study, seeds=...)` reads, with the folder or store that has them, in place of the study."
        )
