"""The factory returns the class that has a pipeline's abilities; what a class lacks it explains."""

from __future__ import annotations

import diffusers
import pytest

from surrogate_ax import Steppable
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax_diffusers import (
    EditablePipelineGenerator,
    PipelineGenerator,
    SteppablePipelineGenerator,
    avatar_generator,
    pipeline_generator,
)
from surrogate_ax_diffusers.encoding import EncodablePipelineGenerator
from surrogate_ax_diffusers.step_noise import StepNoisePipelineGenerator
from surrogate_ax_diffusers.step_support import STEP_METHODS
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2

CALL = {"prompt": "a cat", "num_inference_steps": 2, "check_determinism": False}


def pndm() -> diffusers.StableDiffusionPipeline:
    return tiny.stable_diffusion(diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1))


def test_each_pipeline_gets_the_class_with_its_abilities() -> None:
    assert type(pipeline_generator(tiny.stable_diffusion("euler"), **CALL)) is EditablePipelineGenerator
    assert type(pipeline_generator(pndm(), **CALL)) is EncodablePipelineGenerator
    latents = CALL | {"output_type": "latent"}
    assert type(pipeline_generator(tiny.stable_diffusion("euler"), **latents)) is SteppablePipelineGenerator
    assert type(pipeline_generator(pndm(), **latents)) is PipelineGenerator
    ancestral = tiny.stable_diffusion(diffusers.EulerAncestralDiscreteScheduler(steps_offset=1))
    made = pipeline_generator(ancestral, step_noise=True, **CALL)
    assert type(made) is StepNoisePipelineGenerator
    assert isinstance(made, PipelineGenerator)
    assert not isinstance(made, Steppable)
    assert type(avatar_generator()) is EditablePipelineGenerator


def test_what_is_no_pipeline_is_refused_with_step_noise_too() -> None:
    for step_noise in (False, True):
        with pytest.raises(ArgumentError, match="pipe: expected a diffusers DiffusionPipeline, got int"):
            pipeline_generator(3, step_noise=step_noise)


@pytest.mark.parametrize("method", sorted(STEP_METHODS))
def test_a_missing_ability_is_explained(method: str) -> None:
    made = pipeline_generator(pndm(), **CALL)
    assert not hasattr(made, method)
    with pytest.raises(UnsupportedError, match=f"{method}: StableDiffusionPipeline cannot stop .* PNDMScheduler"):
        getattr(made, method)


def test_a_class_that_is_built_by_hand_has_its_own_abilities_only() -> None:
    made = PipelineGenerator(tiny.stable_diffusion("euler"), **CALL)
    assert type(made) is PipelineGenerator
    with pytest.raises(UnsupportedError, match=r"start: a PipelineGenerator generates whole outputs only.*pipeline"):
        _ = made.start
    with pytest.raises(UnsupportedError, match=r"pipe: StableDiffusionPipeline cannot stop .* PNDMScheduler"):
        SteppablePipelineGenerator(pndm(), **CALL)
