"""The embedded model, and Stable Diffusion under each kind of scheduler, keep the contract of generators."""

from __future__ import annotations

from typing import Any

import pytest

from surrogate_ax_diffusers import avatar_generator, pipeline_generator
from tests.contracts.generator_contract import Case, GeneratorContract
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
TEXTS = ({"prompt": "a red car"}, {"prompt": "a blue cat"})
UNKNOWN = {"promt": "a red car"}


def tiny_case(pipe: Any, conditions: tuple[Any, ...] = TEXTS, **call: Any) -> Case:
    settings = {"prompt": "a cat", "num_inference_steps": 2, "output_type": "np"}
    generator = pipeline_generator(pipe, check_determinism=False, **{**settings, **call})
    return Case(generator, conditions, UNKNOWN)


class TestAvatars(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        generator = avatar_generator("red hat", steps=2)
        return Case(generator, ({"guidance_scale": 3.0}, {"prompt": "dark skin", "negative_prompt": "no hat"}), UNKNOWN)


class TestStableDiffusion(GeneratorContract):
    @pytest.fixture(scope="class", params=sorted(tiny.SCHEDULERS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        return tiny_case(tiny.stable_diffusion(request.param))
