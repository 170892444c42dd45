"""Generation strategies for boxes that move: the search's own nodes, with a model of Ax's for what it leaves open."""

from __future__ import annotations

from typing import Literal

from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.storage.json_store.encoders import generator_spec_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY

from surrogate_ax.errors import ArgumentError
from surrogate_ax_platform.coefficients import CoefficientSpec
from surrogate_ax_platform.nodes import ModelNode, PlanNode, is_ours
from surrogate_ax_platform.rounds import OwnRoundSpec, RoundSpec

Model = Literal["coefficients", "ax"]


def generation_strategy(model: Model = "coefficients", *, initial: int = 5) -> GenerationStrategy:
    """Draws and exact proposals as the search wants them, and Bayesian optimisation where it leaves points open.

    Args:
        model: "coefficients", a Gaussian process that knows where points of every round lie in latent space, or "ax",
            Ax's own choice of model, which sees the round in play only.
        initial: trials before the model takes over, attached ones included; half of them with results.

    Raises:
        ArgumentError: an unknown model.

    Returns:
        A strategy for `client.set_generation_strategy`, saved and loaded with the client.
    """
    if model not in ("coefficients", "ax"):
        raise ArgumentError(f"model: expected 'coefficients', 'ax' or a GenerationStrategy, got {model!r}.")
    spec: RoundSpec = CoefficientSpec(generator_enum=Generators.BOTORCH_MODULAR)
    if model == "ax":
        spec = OwnRoundSpec(generator_enum=Generators.BOTORCH_MODULAR, generator_kwargs={"expand_model_space": False})
    nodes = [PlanNode("draws"), PlanNode("plan"), ModelNode([spec], initial)]
    return GenerationStrategy(name=f"surrogate:{model}", nodes=nodes)


def renew_strategy(client: Client) -> None:
    """Give a client that an earlier release has configured today's strategy of the same model."""
    strategy = client._maybe_generation_strategy
    if strategy is None or is_ours(strategy) or not strategy.name.startswith("surrogate:"):
        return
    model = strategy.name.removeprefix("surrogate:")
    if model in ("coefficients", "ax"):
        client.set_generation_strategy(generation_strategy("ax" if model == "ax" else "coefficients"))


for _spec in (RoundSpec, OwnRoundSpec, CoefficientSpec):
    CORE_ENCODER_REGISTRY[_spec] = generator_spec_to_dict
    CORE_DECODER_REGISTRY[_spec.__name__] = _spec
