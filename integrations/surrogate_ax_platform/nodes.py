"""The search as nodes of Ax's generation strategy, so that `get_next_trials` by hand and `run_trials` are our search.

"draws" proposes plain draws, and random points until a model can begin; "plan" the exact proposals of a round; "model"
holds Ax's generator and proposes in the round's box. Each passes on to the one that is wanted next, as the record of
the experiment says. Nothing but the nodes' names and the model's settings is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ax.adapter.base import Adapter
from ax.adapter.registry import Generators
from ax.core.arm import Arm
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.observation import ObservationFeatures
from ax.core.trial_status import TrialStatus
from ax.core.types import TParameterization
from ax.exceptions.core import AxError, DataRequiredError
from ax.exceptions.generation_strategy import GenerationStrategyRepeatedPoints
from ax.generation_strategy.external_generation_node import ExternalGenerationNode
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generation_strategy.transition_criterion import TransitionCriterion
from ax.generators.torch.botorch_moo_utils import NO_FEASIBLE_POINTS_MESSAGE
from ax.storage.json_store.decoder import object_from_json
from ax.storage.json_store.encoders import transition_criterion_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY

from surrogate_ax.errors import MismatchError, UnsupportedError
from surrogate_ax_platform import records
from surrogate_ax_platform.coefficients import CoefficientSpec
from surrogate_ax_platform.rounds import OwnRoundSpec, RoundSpec
from surrogate_ax_platform.search import Model, Places, check_fixed, imposed_round, search_of, wanted
from surrogate_ax_platform.search_space import searched_names

_logger = logging.getLogger(f"surrogate_ax.{__name__}")
NAMES = ("draws", "plan", "model")
IN_ROUND = 3  # results in its round that a model of one round needs before it proposes
LEAST = 2  # results that a model is fitted to
Pending = Mapping[str, Sequence[ObservationFeatures]]


class Wanted(TransitionCriterion):
    """Met when the search wants the node that it leads to."""

    def __init__(self, transition_to: str) -> None:
        super().__init__(transition_to=transition_to)

    def is_met(self, experiment: Experiment, curr_node: GenerationNode) -> bool:
        """Whether that node is wanted; an experiment that cannot go on by hand stays where it is, and says so later."""
        try:
            return wanted(experiment, model_of(curr_node.generation_strategy)).node == self.transition_to
        except (MismatchError, UnsupportedError):
            return False


class PlanNode(ExternalGenerationNode):
    """Proposes what needs no model of Ax's; for analyses and predictions it fits the model on coefficients.

    Args:
        name: "draws" or "plan".
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, should_deduplicate=False, transition_criteria=_elsewhere(name))
        self._predictor = CoefficientSpec(generator_enum=Generators.BOTORCH_MODULAR)
        self._fitted_to = -1  # rows of data
        self._request: tuple[Places, int, dict[str, Any]] | None = None

    def update_generator_state(self, experiment: Experiment, data: Data) -> None:
        """Nothing to fit: what is proposed follows from the record."""

    def new_trial_limit(self, raise_generation_errors: bool = False) -> int:
        """How many places of the kind that is wanted are open."""
        return open_places(self)

    def get_next_candidate(self, pending_parameters: list[TParameterization]) -> TParameterization:
        """The point of the next open place.

        Raises:
            DataRequiredError: every place of the round is taken.
        """
        if self._request is None:
            raise UnsupportedError("client: ask its generation strategy for trials, with `get_next_trials`.")
        places, number, fixed = self._request
        if number >= places.count:
            raise DataRequiredError(_full(places))
        self._request = (places, number + 1, fixed)
        return search_of(self.experiment).point(self.experiment, places, number, fixed)

    def _gen(  # type: ignore[override]  # Ax's own external node has this order
        self,
        experiment: Experiment,
        data: Data | None = None,
        n: int | None = None,
        pending_observations: dict[str, list[ObservationFeatures]] | None = None,
        **options: Any,
    ) -> GeneratorRun:
        fixed = _fixed(options)
        check_fixed(fixed, dict.fromkeys(searched_names(experiment.search_space)))
        places, number = wanted(experiment, model_of(self.generation_strategy)), given(pending_observations)
        self._request = (places, number, fixed)
        run = super()._gen(experiment, data, n, pending_observations)
        self._request = None
        run._fit_time = 0.0  # Ax leaves an int after the first, which its SQL storage takes for another object
        return noting(experiment, places, run, number)

    def gen(self, *, skip_fit: bool = False, **options: Any) -> GeneratorRun | None:
        """The next point; the model is for predictions, so it is not fitted for that."""
        return super().gen(skip_fit=True, **options)

    def _fit(self, experiment: Experiment, data: Data | None = None, **options: Any) -> None:
        """Fit the model on coefficients, for analyses and predictions, where enough is known."""
        told = len(experiment.trial_indices_by_status[TrialStatus.COMPLETED])
        if told >= LEAST and records.SPACES in experiment._properties:
            self._predictor.fit(experiment=experiment, data=data)
            self._fitted_to = len(experiment.lookup_data().df)

    @property
    def _fitted_adapter(self) -> Adapter | None:  # type: ignore[override]  # which has none
        """The fitted model, None where there is none or more is known by now: Ax asks for it with every snapshot."""
        experiment = self.generation_strategy._experiment
        fresh = experiment is not None and len(experiment.lookup_data().df) == self._fitted_to
        return self._predictor._fitted_adapter if fresh else None

    @classmethod
    def serialize_init_args(cls, obj: Any) -> dict[str, Any]:
        """Its name."""
        return {"name": obj.name}

    @classmethod
    def deserialize_init_args(cls, args: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Its name."""
        return {"name": args["name"]}


class ModelNode(GenerationNode):
    """Lets Ax's generator propose in the box of the round in play, as often as the round has places.

    Args:
        generator_specs: a `RoundSpec`, which pins the round.
        initial: trials before it takes over.
    """

    def __init__(self, generator_specs: list[GeneratorSpec], initial: int) -> None:
        self.initial = initial
        fallback = RoundSpec(generator_enum=Generators.SOBOL, generator_key_override="Fallback_Sobol")
        super().__init__(
            name="model",
            generator_specs=generator_specs,
            transition_criteria=_elsewhere("model"),
            should_deduplicate=True,
            fallback_specs={GenerationStrategyRepeatedPoints: fallback},
        )

    @property
    def needs(self) -> Model:
        """What it needs before it proposes."""
        one_round = any(isinstance(spec, OwnRoundSpec) for spec in self.generator_specs)
        return Model(self.initial, IN_ROUND if one_round else 0)

    def new_trial_limit(self, raise_generation_errors: bool = False) -> int:
        """How many places of the kind that is wanted are open."""
        return open_places(self)

    def gen(
        self,
        *,
        experiment: Experiment,
        pending_observations: dict[str, list[ObservationFeatures]] | None,
        **options: Any,
    ) -> GeneratorRun | None:
        """Propose in the round in play.

        Raises:
            DataRequiredError: every place of the round is taken.
        """
        places, number = wanted(experiment, self.needs), given(pending_observations)
        if number >= places.count:
            raise DataRequiredError(_full(places))
        try:
            run = super().gen(experiment=experiment, pending_observations=pending_observations, **options)
        except AxError as error:
            if imposed_round(experiment) is not None or NO_FEASIBLE_POINTS_MESSAGE not in str(error):
                raise
            _logger.warning("Ax predicts that no trial so far keeps the bounds and proposes none: drawing at random.")
            point = search_of(experiment).point(experiment, places, number, _fixed(options))
            run = GeneratorRun(arms=[Arm(parameters=point)], generator_key=self.name)
            run._generation_node_name = self.name
        return None if run is None else noting(experiment, places, run, number)

    @classmethod
    def deserialize_init_args(
        cls,
        args: dict[str, Any],
        decoder_registry: dict[str, type[Any] | Callable[..., Any]] | None = None,
        class_decoder_registry: dict[str, Callable[[dict[str, Any]], Any]] | None = None,
    ) -> dict[str, Any]:
        """Its generator's settings."""
        known = {"decoder_registry": decoder_registry, "class_decoder_registry": class_decoder_registry}
        registries: dict[str, Any] = {name: registry for name, registry in known.items() if registry is not None}
        return {
            "generator_specs": object_from_json(args["generator_specs"], **registries),
            "initial": int(args["initial"]),
        }


def model_of(strategy: GenerationStrategy) -> Model:
    """What the model of a strategy needs first."""
    for node in strategy._nodes:
        if isinstance(node, ModelNode):
            return node.needs
    return Model(0, 0)


def is_ours(strategy: GenerationStrategy | None) -> bool:
    """Whether a strategy is one of `generation_strategy`."""
    return strategy is not None and any(isinstance(node, PlanNode) for node in strategy._nodes)


def open_places(node: GenerationNode) -> int:
    """How many trials a request may have; one that cannot be served says why when it is generated."""
    try:
        return wanted(node.experiment, model_of(node.generation_strategy)).count
    except (MismatchError, UnsupportedError):
        return -1


def given(pending: Pending | None) -> int:
    """How many points the present request was given already: pending ones that no trial has."""
    return max((sum(o.trial_index is None for o in rows) for rows in (pending or {}).values()), default=0)


def noting(experiment: Experiment, places: Places, run: GeneratorRun, number: int) -> GeneratorRun:
    """A generator run that says what its point stands for; a loop of ours notes that in the trial instead."""
    if imposed_round(experiment) is None and len(run.arms) == 1:
        noted = search_of(experiment).recipe(experiment, places, run.arms[0].parameters, number)
        run._gen_metadata = {**(run.gen_metadata or {}), **noted}
    return run


def _full(places: Places) -> str:
    return (
        f"Every open place of round {places.round.number} ({places.round.size} trials) is taken. The next round learns "
        "from this one: complete its running trials, or mark them failed or abandoned, and ask again."
    )


def _fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    fixed = options.get("fixed_features")
    return {} if fixed is None else dict(fixed.parameters)


def _elsewhere(name: str) -> list[TransitionCriterion]:
    return [Wanted(transition_to=other) for other in NAMES if other != name]


def _plan_node_to_dict(node: PlanNode) -> dict[str, Any]:
    return {"__type": type(node).__name__, "name": node.name}


def _model_node_to_dict(node: ModelNode) -> dict[str, Any]:
    return {"__type": type(node).__name__, "generator_specs": node.generator_specs, "initial": node.initial}


CORE_ENCODER_REGISTRY[PlanNode], CORE_ENCODER_REGISTRY[ModelNode] = _plan_node_to_dict, _model_node_to_dict
CORE_ENCODER_REGISTRY[Wanted] = transition_criterion_to_dict
for _class in (PlanNode, ModelNode, Wanted):
    CORE_DECODER_REGISTRY[_class.__name__] = _class
