"""Images that steer a pipeline are conditions: one an item in one call where the pipeline allows, else call by call."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch

from surrogate_ax import Gaussian
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax_diffusers import PipelineGenerator, pipeline_generator
from tests.contracts.generator_contract import Case, GeneratorContract, draw
from tests.contracts.steppable_contract import SteppableContract
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny_families.QUIET
RED, BLUE, GREEN = (PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green"))
KONTEXT = {"height": 16, "width": 16, "max_sequence_length": 8, "max_area": 256, "_auto_resize": False}


def control_net() -> Any:
    network = diffusers.ControlNetModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=4,
        conditioning_embedding_out_channels=(8, 8),
    )
    parts = {**tiny.stable_diffusion().components, "controlnet": network}
    return tiny.ready(diffusers.StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False))


def kontext() -> Any:
    return diffusers.FluxKontextPipeline(**tiny.flux().components)


def generator(pipe: Any, **call: Any) -> PipelineGenerator:
    settings = {"prompt": "a cat", "num_inference_steps": 3, "output_type": "np", "image": RED}
    return pipeline_generator(pipe, check_determinism=False, **{**settings, **call})


class TestControlNet(GeneratorContract, SteppableContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(generator(control_net()), ({"image": BLUE}, {"image": GREEN, "prompt": "a red car"}))


class TestKontext(GeneratorContract, SteppableContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(generator(kontext(), **KONTEXT), ({"image": BLUE}, {"image": GREEN, "prompt": "a red car"}))


@pytest.mark.parametrize(("make", "call", "calls"), [(control_net, {}, 1), (kontext, KONTEXT, 3)])
def test_images_share_a_call_where_the_pipeline_allows(make: Any, call: dict[str, Any], calls: int) -> None:
    made, seen = generator(make(), **call), []
    made._denoisers[0].register_forward_pre_hook(lambda *_: seen.append(1))
    made.generate(draw(made), [{}, {"image": BLUE}, {"image": GREEN}])
    assert len(seen) == 3 * calls  # steps
    seen.clear()
    made.generate(draw(made), [{}, {"image": RED}, {}])
    assert len(seen) == 3


def test_a_list_of_images_goes_to_every_item_and_one_a_condition_is_refused() -> None:
    made = generator(control_net(), image=[RED])
    z = draw(made)
    single = generator(control_net()).generate(z, [{}] * 3).outputs
    assert np.abs(np.asarray(made.generate(z, [{}] * 3).outputs) - np.asarray(single)).max() <= 1e-5
    with pytest.raises(ArgumentError, match="image: expected one image, got 2 in a list"):
        generator(control_net()).generate(z, [{"image": [RED, BLUE]}] * 3)


def from_image(kind: type[Any], pipe: Any) -> Any:
    """A pipeline of another kind with the same components."""
    names = inspect.signature(kind.__init__).parameters.keys()
    parts = {name: part for name, part in pipe.components.items() if name in names}
    return kind(**parts, **({"requires_safety_checker": False} if "requires_safety_checker" in names else {}))


MASK = PIL.Image.new("L", (16, 16), 255)
SIZED = {"height": 16, "width": 16, "max_sequence_length": 8}
STARTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "StableDiffusionImg2ImgPipeline": (lambda: tiny.stable_diffusion("euler"), {}),
    "StableDiffusionXLImg2ImgPipeline": (tiny.stable_diffusion_xl, {}),
    "StableDiffusion3Img2ImgPipeline": (tiny.stable_diffusion_3, {"max_sequence_length": 8}),
    "FluxImg2ImgPipeline": (tiny.flux, SIZED),
    "QwenImageImg2ImgPipeline": (tiny_families.qwen_image, SIZED),
    "StableDiffusionInpaintPipeline": (tiny.stable_diffusion, {"mask_image": MASK}),
}


class TestImageToImage(GeneratorContract, SteppableContract):
    @pytest.fixture(scope="class", params=sorted(STARTS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        make, call = STARTS[request.param]
        pipe = from_image(getattr(diffusers, request.param), make())
        steps = {"num_inference_steps": 6, "strength": 0.6}
        return Case(generator(pipe, **steps, **call), ({"image": BLUE}, {"image": GREEN, "prompt": "a red car"}))


def test_the_noise_is_searched_and_image_and_strength_are_conditions() -> None:
    made, seen = generator(from_image(diffusers.StableDiffusionImg2ImgPipeline, tiny.stable_diffusion())), []
    assert made.prior == Gaussian((4, 8, 8))
    z = draw(made)
    same = {"latents": z["latents"][[0, 0, 0]]}
    made._denoisers[0].register_forward_pre_hook(lambda *_: seen.append(1))
    outputs = np.asarray(
        made.generate(same, [{"strength": 0.9}, {"strength": 0.4}, {"image": BLUE, "strength": 0.9}]).outputs
    )
    assert np.abs(outputs[0] - outputs[1]).max() >= 1e-3
    assert np.abs(outputs[0] - outputs[2]).max() >= 1e-3
    assert len(seen) == 2 + 1  # steps of strength 0.9, whose images share a call, and of 0.4


def test_noise_that_is_mixed_unevenly_is_refused() -> None:
    class Uneven(diffusers.StableDiffusionImg2ImgPipeline):
        def prepare_latents(self, *args: Any) -> torch.Tensor:
            return super().prepare_latents(*args) * torch.linspace(0, 1, 8)

    with pytest.raises(UnsupportedError, match="nor noise mixed with an image in one way"):
        generator(from_image(Uneven, tiny.stable_diffusion()))
