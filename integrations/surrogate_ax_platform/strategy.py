"""Generation strategies for boxes that move: Ax's own model on the round in play, or a model on coefficients."""

from __future__ import annotations

from typing import Literal

from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.core.trial_status import TrialStatus
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.transition_criterion import MinTrials
from ax.storage.json_store.encoders import generator_spec_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY

from surrogate_ax.errors import ArgumentError
from surrogate_ax_platform.coefficients import CoefficientSpec
from surrogate_ax_platform.rounds import OwnRoundSpec, RoundSpec

Model = Literal["coefficients", "ax"]


def generation_strategy(
    model: Model = "coefficients", *, initial: int = 5, seed: int | None = None
) -> GenerationStrategy:
    """Quasi-random points first, then Bayesian optimisation.

    Args:
        model: "coefficients", a Gaussian process that knows where points of every round lie in latent space, or "ax",
            Ax's own choice of model, which sees the round in play only.
        initial: trials before the model takes over, attached ones included.
        seed: of the quasi-random points.

    Raises:
        ArgumentError: an unknown model.

    Returns:
        A strategy for `client.set_generation_strategy`, saved and loaded with the client.
    """
    if model not in ("coefficients", "ax"):
        raise ArgumentError(f"model: expected 'coefficients', 'ax' or a GenerationStrategy, got {model!r}.")
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
    spec: RoundSpec = CoefficientSpec(generator_enum=Generators.BOTORCH_MODULAR)
    if model == "ax":
        spec = OwnRoundSpec(generator_enum=Generators.BOTORCH_MODULAR, generator_kwargs={"expand_model_space": False})
    return GenerationStrategy(
        name=f"surrogate:{model}",
        nodes=[
            GenerationNode(name="Sobol", generator_specs=[sobol], transition_criteria=enough, should_deduplicate=True),
            GenerationNode(name="model", generator_specs=[spec], should_deduplicate=True),
        ],
    )


def sees_one_round(client: Client) -> bool:
    """Whether the client's model needs points of the round in play before it can propose."""
    strategy = client._maybe_generation_strategy
    return strategy is not None and any(
        isinstance(spec, OwnRoundSpec) for node in strategy._nodes for spec in node.generator_specs
    )


for _spec in (RoundSpec, OwnRoundSpec, CoefficientSpec):
    CORE_ENCODER_REGISTRY[_spec] = generator_spec_to_dict
    CORE_DECODER_REGISTRY[_spec.__name__] = _spec
