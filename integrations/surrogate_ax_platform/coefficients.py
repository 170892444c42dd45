"""Ax's modular BoTorch generator with a Gaussian process on coefficients: it learns from every trial of every round.

The experiment holds all that the model needs (frames of the rounds, recipes of the trials), so a saved and loaded
client goes on without the generator. The geometry is built anew when the model is fitted and is not saved.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ax.adapter.registry import Mixed_transforms, Y_trans
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.parameter import ChoiceParameter, Parameter, RangeParameter
from ax.core.search_space import SearchSpace, SearchSpaceDigest
from ax.generators.torch.botorch_modular.acquisition import Acquisition
from ax.generators.torch.botorch_modular.input_constructors.covar_modules import covar_module_argparse
from ax.generators.torch.botorch_modular.surrogate import Surrogate, SurrogateSpec
from ax.generators.torch.botorch_modular.utils import ModelConfig
from ax.generators.torch_base import TorchOptConfig
from botorch.models import SingleTaskGP
from botorch.utils.datasets import SupervisedDataset

from surrogate_ax.arrays import Array
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Seed
from surrogate_ax.latents.space import coordinate_names
from surrogate_ax_botorch import Box, CoefficientKernel, Geometry, Placed
from surrogate_ax_platform import records
from surrogate_ax_platform.boxes import frame_terms, opened, seed_name
from surrogate_ax_platform.rounds import RoundSpec
from surrogate_ax_platform.search_space import LAST_BOX, ROUND, box_names

STEPS = 20  # of the acquisition's optimiser: with 200 it finds the same maxima in twice the time
Scale = tuple[float, float] | None  # (low, high) of an ordered parameter, None for a categorical one


@dataclass
class CoefficientSpec(RoundSpec):
    """Bayesian optimisation with the kernel on coefficients; arguments as Ax's GeneratorSpec."""

    def fit(self, experiment: Experiment, data: Data | None = None, **generator_kwargs: Any) -> None:
        """Fit to all trials of all rounds."""
        self._box_only = not scales(experiment.search_space)
        options = {"geometry": geometry(experiment), "scales": scales(experiment.search_space)}
        config = ModelConfig(
            botorch_model_class=CoefficientGP,
            covar_module_class=CoefficientKernel,
            covar_module_options=options,
            input_transform_classes=None,  # the kernel scales by itself
            name="coefficients",
        )
        # Outcomes apart: the kernel holds a cache of its rows, and a model each is as quick as a batched one.
        spec = SurrogateSpec(model_configs=[config], allow_batched_models=False)
        own = {"surrogate_spec": spec, "acquisition_class": EveryRound, "transforms": Mixed_transforms + Y_trans}
        super().fit(experiment=experiment, data=data, **{**own, **generator_kwargs})

    def gen(self, **generator_gen_kwargs: Any) -> GeneratorRun:
        """Propose; what only this process can use is not recorded with the proposal."""
        # With conditions to search, Ax may choose an optimiser that takes other options.
        steps = {"optimizer_kwargs": {"options": {"maxiter": STEPS}}} if self._box_only else {}
        run = super().gen(**{"model_gen_options": steps, **self.generator_gen_kwargs, **generator_gen_kwargs})
        if run._generator_kwargs is not None:
            unsaved = ("surrogate_spec", "acquisition_class", "transforms")
            run._generator_kwargs = {k: v for k, v in run._generator_kwargs.items() if k not in unsaved}
        return run


class CoefficientGP(SingleTaskGP):
    """BoTorch's SingleTaskGP for any search space: the kernel knows the categorical columns."""

    @classmethod
    def construct_inputs(cls, training_data: SupervisedDataset, **options: Any) -> dict[str, Any]:
        """As BoTorch's, without the categorical columns that Ax names."""
        options.pop("categorical_features", None)
        inputs: dict[str, Any] = super().construct_inputs(training_data=training_data, **options)
        return inputs


class EveryRound(Acquisition):
    """An acquisition for which the trials of every round count as the best so far, not those of the pinned one only."""

    def __init__(
        self,
        surrogate: Surrogate,
        search_space_digest: SearchSpaceDigest,
        torch_opt_config: TorchOptConfig,
        *args: Any,
        **options: Any,
    ) -> None:
        names, bounds = search_space_digest.feature_names, list(search_space_digest.bounds)
        at = names.index(ROUND)
        bounds[at] = (-1.0 - LAST_BOX, float(LAST_BOX))  # below 0 in snapshots of earlier releases
        kept = {i: value for i, value in (torch_opt_config.fixed_features or {}).items() if i != at}
        super().__init__(
            surrogate,
            dataclasses.replace(search_space_digest, bounds=bounds),
            dataclasses.replace(torch_opt_config, fixed_features=kept or None),
            *args,
            **options,
        )
        self.search_space_digest = search_space_digest


def geometry(experiment: Experiment) -> Geometry:
    """Where an experiment's points lie, from what it records: in frames, or by the recipe where a draw takes part."""
    properties = experiment._properties
    current, known = int(properties[records.CURRENT]), opened(experiment)
    boxes = {
        number: Box(frame_terms(box), box["chart"], box["fresh"])
        for number, box in known.items()
        if box["fresh"] < 1 or number == current
    }
    placed = []
    for trial in records.trials(experiment):
        params, recipe = records.parameters_of(trial), records.noted(trial, records.RECIPE)
        number = int(params[ROUND])
        if recipe is not None and (number not in known or known[number]["fresh"] > 0):
            u = [float(params[name]) for name in coordinate_names(_axes(params))]
            placed.append(Placed(number, u, Recipe.from_json(recipe).terms))
    measured = properties.get(records.GRAM)
    return Geometry(boxes, placed, present=current, gram=(lambda seeds: _gram(seeds, measured)) if measured else None)


def _axes(params: dict[str, Any]) -> int:
    return 1 + len(box_names(params))


def _gram(seeds: Sequence[Seed], measured: dict[str, dict[str, float]]) -> Array:
    """G of seeds from what was measured when their rounds were begun; pairs that were not are taken as independent."""
    names = [seed_name(seed) for seed in seeds]
    known = [[measured.get(a, {}).get(b, float(a == b)) for b in names] for a in names]
    return np.array(known)


def scales(space: SearchSpace) -> dict[str, Scale]:
    """How the searched conditions are compared, as Ax's transforms leave them."""
    box = box_names(space.parameters)
    return {name: _scale(p) for name, p in space.parameters.items() if name != ROUND and name not in box}


def _scale(parameter: Parameter) -> Scale:
    if isinstance(parameter, RangeParameter):
        low, high = float(parameter.lower), float(parameter.upper)
        return (math.log10(low), math.log10(high)) if parameter.log_scale else (low, high)
    if not isinstance(parameter, ChoiceParameter) or not parameter.is_ordered:
        return None
    if not parameter.is_numeric:  # numbered from 0
        return (0.0, float(len(parameter.values) - 1))
    values = [float(str(value)) for value in parameter.values]
    return (min(values), max(values))


def _kernel_arguments(
    covar_module_class: type[CoefficientKernel],
    botorch_model_class: Any,
    dataset: SupervisedDataset,
    geometry: Geometry,
    scales: dict[str, Scale],
    **_: Any,
) -> dict[str, Any]:
    """The kernel's arguments: columns by the names of the features."""
    names = list(dataset.feature_names)
    column = {name: names.index(name) for name in scales}
    return {
        "geometry": geometry,
        "box": [names.index(name) for name in coordinate_names(geometry.axes)],
        "round": names.index(ROUND),
        "ordered": {column[name]: scale for name, scale in scales.items() if scale is not None},
        "categorical": [column[name] for name, scale in scales.items() if scale is None],
    }


covar_module_argparse.add((CoefficientKernel,), _kernel_arguments)
