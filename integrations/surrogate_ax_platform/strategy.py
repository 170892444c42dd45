"""Generation strategies for boxes that move: Ax's own model on the round in play, or a model on coefficients.

Both pin the parameter `round` to the round in play, which the experiment records, so that Ax's own drive
(`client.run_trials`) searches one box too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.observation import ObservationFeatures
from ax.core.trial_status import TrialStatus
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generation_strategy.transition_criterion import MinTrials
from ax.storage.json_store.decoder import generator_spec_from_json
from ax.storage.json_store.encoders import generator_spec_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY

from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import ROUND

Model = Literal["coefficients", "ax"]


@dataclass
class RoundSpec(GeneratorSpec):
    """A generator that proposes in the round in play; arguments as Ax's GeneratorSpec."""

    def fit(self, experiment: Experiment, data: Data | None = None, **generator_kwargs: Any) -> None:
        """Fit, and remember which round is in play."""
        self._round = int(experiment._properties.get(records.CURRENT, 0))
        super().fit(experiment=experiment, data=data, **generator_kwargs)

    def gen(self, **generator_gen_kwargs: Any) -> GeneratorRun:
        """Propose, with the round pinned unless the request pins it."""
        asked = generator_gen_kwargs.get("fixed_features")
        pinned = {ROUND: self._round, **(asked.parameters if asked is not None else {})}
        return super().gen(**{**generator_gen_kwargs, "fixed_features": ObservationFeatures(parameters=pinned)})

    @classmethod
    def deserialize_init_args(cls, args: dict[str, Any], **registries: Any) -> dict[str, Any]:
        """What Ax's decoder makes of the arguments of a GeneratorSpec."""
        spec = generator_spec_from_json({k: v for k, v in args.items() if k != "__type"}, **registries)
        names = ("generator_enum", "generator_kwargs", "generator_gen_kwargs", "cv_kwargs", "generator_key_override")
        return {name: getattr(spec, name) for name in names}


@dataclass
class OwnRoundSpec(RoundSpec):
    """A generator whose model sees the trials of the round in play only: u means another point in every round."""

    def fit(self, experiment: Experiment, data: Data | None = None, **generator_kwargs: Any) -> None:
        """Fit to the trials that lie in the box of the round in play."""
        current = int(experiment._properties.get(records.CURRENT, 0))
        inside = [t.index for t in records.trials(experiment) if records.parameters_of(t)[ROUND] == current]
        known = experiment.lookup_data() if data is None else data
        super().fit(experiment=experiment, data=known.filter(trial_indices=inside), **generator_kwargs)


def generation_strategy(
    model: Model = "coefficients", *, initial: int = 5, seed: int | None = None
) -> GenerationStrategy:
    """Quasi-random points first, then Bayesian optimisation.

    Args:
        model: "coefficients", a Gaussian process that knows where points of every round lie in latent space, or "ax",
            Ax's own choice of model, which sees the round in play only.
        initial: trials before the model takes over, attached ones included.
        seed: of the quasi-random points.

    Returns:
        A strategy for `client.set_generation_strategy`, saved and loaded with the client.
    """
    enough = [
        MinTrials(
            threshold=initial,
            transition_to="model",
            use_all_trials_in_exp=True,
            not_in_statuses=[TrialStatus.FAILED, TrialStatus.ABANDONED],
        ),
        MinTrials(
            threshold=max(1, initial // 2),
            transition_to="model",
            use_all_trials_in_exp=True,
            only_in_statuses=[TrialStatus.COMPLETED],
            count_only_trials_with_data=True,
        ),
    ]
    sobol = RoundSpec(generator_enum=Generators.SOBOL, generator_kwargs={"seed": seed})
    own = OwnRoundSpec(generator_enum=Generators.BOTORCH_MODULAR, generator_kwargs={"expand_model_space": False})
    return GenerationStrategy(
        name=f"surrogate:{model}",
        nodes=[
            GenerationNode(name="Sobol", generator_specs=[sobol], transition_criteria=enough, should_deduplicate=True),
            GenerationNode(name="model", generator_specs=[own], should_deduplicate=True),
        ],
    )


def sees_one_round(client: Client) -> bool:
    """Whether the client's model needs points of the round in play before it can propose."""
    strategy = client._maybe_generation_strategy
    return strategy is not None and any(
        isinstance(spec, OwnRoundSpec) for node in strategy._nodes for spec in node.generator_specs
    )


for _spec in (RoundSpec, OwnRoundSpec):
    CORE_ENCODER_REGISTRY[_spec] = generator_spec_to_dict
    CORE_DECODER_REGISTRY[_spec.__name__] = _spec
