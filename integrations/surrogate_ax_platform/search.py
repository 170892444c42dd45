"""The search that an experiment records, and what it wants next: any process can propose, with or without the model.

    recorded plan, prior, seed; ended and running trials -> Proposer -> round in play -> places that are still open

A place is a plain draw or a random point ("draws"), an exact proposal ("plan"), or a point of the box that a model is
asked for ("model"). A round is a barrier: when all of its places are taken, there is nothing to propose until they have
ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ax.core.experiment import Experiment
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus

from surrogate_ax.errors import ArgumentError, MismatchError, UnsupportedError
from surrogate_ax.execution.recorded_search import read_plan
from surrogate_ax.generation.conditions import Searched
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.priors import Prior, RecordedPrior
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.latents.typicality import recorded_prior
from surrogate_ax.policies.basic import fixed
from surrogate_ax.policies.history import History, Round
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.scoring.objective import recorded_objective
from surrogate_ax_platform import records
from surrogate_ax_platform.adoption import adopt
from surrogate_ax_platform.boxes import begin_round, place, read_space, space_to_json, terms_at
from surrogate_ax_platform.conditions import conditions_in
from surrogate_ax_platform.points import random_point
from surrogate_ax_platform.record_checks import check_records
from surrogate_ax_platform.search_space import ROUND, box_names, searched_names
from surrogate_ax_platform.seeds import experiment_seeds
from surrogate_ax_platform.sources import read_sources

ENOUGH = 10**6  # evaluations left, for a policy: loops by hand and Ax's own count them themselves
IMPOSED, KEPT = "_surrogate_round", "_surrogate_search"  # attributes of an experiment in memory, never stored


@dataclass(frozen=True)
class Places:
    """What is proposed next.

    Args:
        round: in play.
        node: "draws", "plan" or "model".
        count: how many places of this kind are open now.
        proposals: numbers of the round's proposals that nobody has, for "plan".
    """

    round: Round
    node: str
    count: int
    proposals: tuple[int, ...] = ()


@dataclass(frozen=True)
class Model:
    """What a model that proposes in boxes needs first.

    Args:
        initial: trials before it takes over, half of them with results.
        in_round: results in the box, for a model that sees one round only.
    """

    initial: int
    in_round: int


class Search:
    """What an experiment's record lets any process propose.

    Args:
        experiment: with the record of a search.

    Raises:
        MismatchError: nothing is recorded, or the record was altered.
        UnsupportedError: the search is by a policy of the user's own.
    """

    def __init__(self, experiment: Experiment) -> None:
        check_records(experiment)
        properties = experiment._properties
        record, search = properties.get(records.EXPERIMENT), properties.get(records.SEARCH)
        if record is None or search is None:
            raise MismatchError(
                "client: its experiment has no search on record. Use `configure_experiment` on a new Client, or run "
                "`optimize` once."
            )
        self.record: dict[str, Any] = record
        if self.record.get("space") == "by a policy":
            raise UnsupportedError(
                "client: its experiment is searched by a policy of your own, which cannot be recorded. Go on with "
                "`optimize(..., policy=...)`."
            )
        self.made_of = (self.record, search, properties.get(records.WARM))
        self.prior = RecordedPrior.from_json(search["prior"])
        self.entropy = draw_entropy(search["rng"], "trials")
        self._points = draw_entropy(search["rng"], "parameters")
        self._axes = 1 + len(box_names(experiment.search_space.parameters))
        self.seeds = experiment_seeds(experiment)
        self._sources = read_sources(experiment)
        self._reader = records.ExperimentReader(recorded_objective(self.record["metrics"]), self.seeds)
        self._proposer = self._make_proposer(search, conditions_in(experiment.search_space))
        self._round: Round | None = None

    def _make_proposer(self, search: Mapping[str, Any], conditions: Searched) -> Proposer:
        space = recorded_space(search, self.prior, self.seeds)
        if space is not None:
            return Proposer(fixed(space), ENOUGH, search["rng"])
        plan = read_plan(self.record.get("plan"), "client: its experiment")
        return Proposer.planned(
            plan, self.prior, total_trials=ENOUGH, rng=search["rng"], conditions=conditions, sources=self._sources
        )

    def history(self, experiment: Experiment) -> History:
        """Ended trials, and the rounds of those that run."""
        adopt(experiment, self.record, self.prior, self.seeds)
        running = [trial for trial in records.trials(experiment) if not trial.status.is_terminal]
        rounds = [number for number in map(records.round_of, running) if number is not None]
        return self._reader.read(experiment, running=rounds)

    def places(self, experiment: Experiment, model: Model) -> Places:
        """What is proposed next; the round in play and its boxes are recorded.

        Args:
            experiment: of this search.
            model: what the model needs that proposes in boxes.
        """
        history = self.history(experiment)
        round = self._round = self._proposer.round(history, self._round)
        if round is None:
            raise UnsupportedError("client: its plan has nothing more to propose.")
        begin_round(experiment, round, axes=self._axes)
        free = max(0, history.open(round))
        left = proposals_left(experiment, round)
        if left:
            return Places(round, "plan", min(free, len(left)), tuple(left))
        wanting = missing(experiment, round, model)
        if round.space.fresh == 1 or wanting:
            return Places(round, "draws", free if round.space.fresh == 1 else min(free, wanting))
        return Places(round, "model", free)

    def point(self, experiment: Experiment, places: Places, number: int, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the next "draws" or "plan" place.

        Args:
            experiment: of this search.
            places: what is open.
            number: how many of them this request was given already.
            fixed: conditions that the request fixes.
        """
        exact = places.proposals[number] if places.node == "plan" else None
        index = len(experiment.trials) + number
        return {**point_of(experiment, places.round, self._points, index, proposal=exact), **fixed}

    def recipe(self, experiment: Experiment, places: Places, params: Mapping[str, Any], number: int) -> dict[str, Any]:
        """What is recorded of a point that is proposed: its recipe, its round, and which proposal it is.

        Args:
            experiment: of this search.
            places: of which it is one.
            params: of the point.
            number: its place in the request.
        """
        draw = Draw(self.entropy, len(experiment.trials) + number)
        if places.node == "plan":
            terms = places.round.proposals[places.proposals[number]].terms
        else:
            terms, _ = terms_at(experiment, params, draw, self.prior, tensors=self.seeds, round=places.round)
        condition = {name: params[name] for name in searched_names(experiment.search_space)}
        recipe = Recipe(terms, condition, self.record["generator"], 1)
        exact = {records.PROPOSAL: places.proposals[number]} if places.node == "plan" else {}
        return {records.RECIPE: recipe.to_json(), records.TRIAL_ROUND: places.round.number, **exact}


def search_of(experiment: Experiment) -> Search:
    """The search of an experiment, made once for what is recorded.

    Raises:
        MismatchError: nothing is recorded.
        UnsupportedError: the search is by a policy of the user's own.
    """
    kept: Search | None = vars(experiment).get(KEPT)
    properties = experiment._properties
    recorded = tuple(properties.get(name) for name in (records.EXPERIMENT, records.SEARCH, records.WARM))
    if kept is None or kept.made_of != recorded:
        kept = vars(experiment)[KEPT] = Search(experiment)
    return kept


def wanted(experiment: Experiment, model: Model) -> Places:
    """What is proposed next: in the round that a loop has imposed, or as the record of the search says."""
    round = imposed_round(experiment)
    return Places(round, "model", ENOUGH) if round is not None else search_of(experiment).places(experiment, model)


def imposed_round(experiment: Experiment) -> Round | None:
    """The round that a loop has imposed, whose model is asked for points."""
    found: Round | None = vars(experiment).get(IMPOSED)
    return found


@contextlib.contextmanager
def impose(experiment: Experiment, round: Round) -> Iterator[None]:
    """Let the model propose in a round that a loop has chosen."""
    vars(experiment)[IMPOSED] = round
    try:
        yield
    finally:
        del vars(experiment)[IMPOSED]


def recorded_space(search: Mapping[str, Any] | None, prior: Prior, seeds: SeedStore | None) -> SurrogateSpace | None:
    """The fixed box of a search, None where it is planned."""
    record = None if search is None else search.get("space")
    return None if record is None else read_space(record, prior, seeds)


def search_record(prior: Prior, rng: int, space: SurrogateSpace | None) -> dict[str, Any]:
    """What proposing needs beside the record of the session.

    Args:
        prior: of the generator.
        rng: seed of draws and policy.
        space: a fixed box.
    """
    known = None if space is None else space_to_json(space, bank=True)
    return {"prior": recorded_prior(prior).to_json(), "rng": int(rng), "space": known}


def point_of(
    experiment: Experiment, round: Round, entropy: int, index: int, *, proposal: int | None = None
) -> dict[str, Any]:
    """The parameters of a trial that no model proposes: uniform, but for a proposal's corner and condition.

    Args:
        experiment: of ours.
        round: in play.
        entropy: of the parameters.
        index: of the trial, so that equal trials have equal points in every process.
        proposal: number of the round's proposal.
    """
    rng = np.random.default_rng([entropy, index])
    space, current = experiment.search_space, int(experiment._properties[records.CURRENT])
    point = random_point(space, searched_names(space), round=current, rng=rng)
    if proposal is None:
        return point
    return {**point, **round.proposals[proposal].condition, **place(experiment, round, proposal)}


def proposals_left(experiment: Experiment, round: Round) -> list[int]:
    """Numbers of a round's proposals that no trial evaluates; a point told where one lies is that proposal."""
    if not round.proposals:
        return []
    kept = [trial for trial in records.trials(experiment) if trial.status != TrialStatus.FAILED]
    mine = [trial for trial in kept if records.round_of(trial) == round.number]
    done = {records.noted(trial, records.PROPOSAL) for trial in mine}
    strange = [trial for trial in mine if records.noted(trial, records.PROPOSAL) is None]
    left = [i for i in range(len(round.proposals)) if i not in done]
    for trial in strange:
        same = [i for i in left if _is_at(trial, {**place(experiment, round, i), **round.proposals[i].condition})]
        left = [i for i in left if i not in same[:1]]
    return left


def _is_at(trial: Trial, place: Mapping[str, Any]) -> bool:
    params = records.parameters_of(trial)
    return all(params.get(name) == value for name, value in place.items())


def missing(experiment: Experiment, round: Round, model: Model) -> int:
    """How many random points a model still needs before it proposes in a round."""
    known = [t for t in records.trials(experiment) if t.status not in (TrialStatus.FAILED, TrialStatus.ABANDONED)]
    told = [trial for trial in known if trial.status == TrialStatus.COMPLETED]
    current = experiment._properties.get(records.CURRENT)
    inside = [trial for trial in told if records.parameters_of(trial).get(ROUND) == current]
    needs = (model.initial - len(known), model.initial // 2 - len(told), model.in_round - len(inside))
    return max(0, *needs)


def check_fixed(fixed: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
    """Refuse fixed parameters that the search chooses.

    Raises:
        ArgumentError: the round, or a surrogate coordinate of a place that is exact or drawn.
    """
    refused = sorted(name for name in fixed if name not in allowed)
    if refused:
        raise ArgumentError(
            f"fixed_parameters: expected conditions only ({sorted(allowed)}), got {refused}. The search chooses the "
            "round, and where in its box plain draws and proposals lie; `attach_trial` adds a point of your own."
        )
