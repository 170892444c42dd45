"""Images that steer a pipeline are conditions: one an item in one call where the pipeline allows, else call by call."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest

from surrogate_ax import ArgumentError, UnsupportedError
from surrogate_ax_diffusers import PipelineGenerator
from tests.contracts.generator_contract import Case, GeneratorContract, draw
from tests.contracts.steppable_contract import SteppableContract
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
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
    return PipelineGenerator(pipe, check_determinism=False, **{**settings, **call})


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


def test_what_starts_from_an_image_is_refused() -> None:
    parts = tiny.stable_diffusion().components
    with pytest.raises(UnsupportedError, match="Img2ImgPipeline takes no argument `latents`"):
        generator(diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False))
    names = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "transformer")
    parts = {name: part for name, part in tiny.flux().components.items() if name in names}
    with pytest.raises(UnsupportedError, match="not pure noise"):
        generator(diffusers.FluxImg2ImgPipeline(**parts), height=16, width=16, max_sequence_length=8)
