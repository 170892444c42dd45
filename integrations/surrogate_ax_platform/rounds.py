"""Generator specs that pin the parameter `round` to the box of the round in play, which the experiment records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.observation import ObservationFeatures
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.storage.json_store.decoder import generator_spec_from_json

from surrogate_ax.errors import ArgumentError
from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import ROUND


@dataclass
class RoundSpec(GeneratorSpec):
    """A generator that proposes in the round in play; arguments as Ax's GeneratorSpec."""

    def fit(self, experiment: Experiment, data: Data | None = None, **generator_kwargs: Any) -> None:
        """Fit, and remember which box is in play."""
        self._round = int(experiment._properties.get(records.CURRENT, 0))
        super().fit(experiment=experiment, data=data, **generator_kwargs)

    def gen(self, **generator_gen_kwargs: Any) -> GeneratorRun:
        """Propose, with the round pinned.

        Raises:
            ArgumentError: the request pins another one.
        """
        asked = generator_gen_kwargs.get("fixed_features")
        given = {} if asked is None else dict(asked.parameters)
        if given.get(ROUND, self._round) != self._round:
            raise ArgumentError(
                f"fixed_parameters: the search is in box {self._round}, got round = {given[ROUND]}. Leave the round "
                "out; `attach_trial` adds a point of another box."
            )
        pinned = {ROUND: self._round, **given}
        return super().gen(**{**generator_gen_kwargs, "fixed_features": ObservationFeatures(parameters=pinned)})

    @classmethod
    def deserialize_init_args(
        cls,
        args: dict[str, Any],
        decoder_registry: dict[str, type[Any] | Callable[..., Any]] | None = None,
        class_decoder_registry: dict[str, Callable[[dict[str, Any]], Any]] | None = None,
    ) -> dict[str, Any]:
        """What Ax's decoder makes of the arguments of a GeneratorSpec."""
        known = {"decoder_registry": decoder_registry, "class_decoder_registry": class_decoder_registry}
        registries: dict[str, Any] = {name: registry for name, registry in known.items() if registry is not None}
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
