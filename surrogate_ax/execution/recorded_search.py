"""What a study records of its search when it is begun, and reading it again: it may have been altered since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, get_args

from surrogate_ax.checks import mapping, whole
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.latents.seeds import seed_to_json
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.plan import Kind, Plan
from surrogate_ax.scoring.objective import Objective

RECORD_VERSION = 2  # of what a study records of the search; an earlier Ax experiment has 1, with fewer facts


def search_facts(
    objective: Objective,
    *,
    space: SurrogateSpace | None,
    policy: Policy | None,
    conditions: Mapping[str, Range | Choice],
    rng: int,
) -> dict[str, Any]:
    """What all runs of one study must agree on, beside the generator, JSON-able and part by part."""
    facts: dict[str, Any] = {"metrics": objective.describe()}
    facts["conditions"] = {name: repr(value) for name, value in conditions.items()}
    if space is None:
        return facts | {"space": "by a policy" if policy else "planned", "rng": rng}
    seeds = json.dumps([seed_to_json(seed) for seed in space.bank.seeds])
    bank = "bank-" + hashlib.sha256(seeds.encode()).hexdigest()[:12]
    return facts | {"space": space.fingerprint, "bank": bank, "chart": space.chart.name}


def begin_record(
    recorded: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
    generator: Generator,
    planned: Plan,
    *,
    study: str,
) -> dict[str, Any]:
    """What a study records of a search: as it was begun, or new; refuses what differs from the beginning.

    Args:
        recorded: what the study has recorded, None where no trial stands.
        facts: of this run.
        generator: makes the outputs.
        planned: of this run, for a new record.
        study: what it is called, for messages.

    Raises:
        MismatchError: another version, generator or facts; each that differs is named.
    """
    if recorded is None:
        made = {"version": RECORD_VERSION, "generator": dict(generator.fingerprint), "plan": planned.to_json()}
        return made | dict(facts)
    recorded = mapping(recorded, f"{study}, its record of the search")
    if recorded.get("version") not in (1, RECORD_VERSION) or not {"plan", "generator"} <= recorded.keys():
        raise MismatchError(
            f"{study}: made by version {recorded.get('version')} of this record, this release reads {RECORD_VERSION}."
        )
    check_fingerprint(mapping(recorded["generator"], f"{study}, its generator"), generator, what="search")
    differing = [
        f"{name}: {recorded[name]} -> {fact}" for name, fact in facts.items() if recorded.get(name, fact) != fact
    ]
    if differing:
        raise MismatchError(f"{study} was begun with other parts. {'; '.join(differing)}. Begin a new one.")
    return dict(recorded)


def read_plan(record: Any, study: str) -> Plan:
    """The plan of a record.

    Args:
        record: of `Plan.to_json`.
        study: what it is called, for messages.

    Raises:
        MismatchError: something else.
    """
    try:
        plan = Plan.from_json(record)
        counts = [plan.draws, plan.axes, plan.size, plan.sampled, plan.checkpoint, plan.steps]
        for count in counts if plan.anneal_over is None else [*counts, plan.anneal_over]:
            whole(count, "a count of it", least=0)
        if plan.kind not in get_args(Kind) or plan.axes < 2 or not 0 < plan.keep_fraction <= 1:
            raise ArgumentError(f"kind {plan.kind!r}, axes {plan.axes}, keep_fraction {plan.keep_fraction}")
    except (TypeError, AttributeError, ArgumentError) as error:
        raise MismatchError(f"{study}: its recorded plan cannot be read ({error}); it was altered.") from error
    return plan
