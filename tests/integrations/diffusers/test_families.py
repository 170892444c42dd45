"""Every named pipeline class keeps the contract through its own class, in the shape its row of the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian, Steppable
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax_diffusers import PipelineGenerator, load_pipeline, pipeline_generator
from surrogate_ax_diffusers.families import FAMILIES, find_family
from tests.contracts.generator_contract import Case, GeneratorContract, draw
from tests.contracts.steppable_contract import SteppableContract
from tests.integrations.diffusers import tiny, tiny_families
from tests.integrations.diffusers.tiny_families import CALLS

pytestmark = tiny_families.QUIET
TEXTS = ({"prompt": "a red car"}, {"prompt": "a blue cat"})
SHAPES = {
    "StableDiffusionPipeline": (4, 8, 8),
    "StableDiffusionXLPipeline": (4, 8, 8),
    "StableDiffusion3Pipeline": (4, 8, 8),
    "FluxPipeline": (16, 16),
    "Flux2Pipeline": (16, 4, 4),
    "ZImagePipeline": (4, 8, 8),
    "QwenImagePipeline": (16, 16),
    "HunyuanVideoPipeline": (4, 2, 2, 2),
    "WanPipeline": (4, 2, 2, 2),
    "LTXPipeline": (192, 8),
    "StableAudioPipeline": (3, 8),
    "AudioLDM2Pipeline": (4, 16, 4),
    "AceStepPipeline": (8, 8),
}
NOT_STEPPABLE = {"StableAudioPipeline", "AudioLDM2Pipeline", "AceStepPipeline"}
WITHOUT_HEIGHT = {"StableAudioPipeline", "AudioLDM2Pipeline", "AceStepPipeline"}


def generator(name: str, pipe: Any = None, **call: Any) -> PipelineGenerator:
    pipe = CALLS[name][0]() if pipe is None else pipe
    return pipeline_generator(pipe, check_determinism=False, **tiny_families.generator_call(name, **call))


class TestFamilies(GeneratorContract):
    @pytest.fixture(scope="class", params=sorted(CALLS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        return Case(generator(request.param), TEXTS, {"promt": "a red car"})


class TestUnnamed(GeneratorContract):
    """A class that no row of the table names is driven as it is found."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        call = {"height": 16, "width": 16, "max_sequence_length": 8, "use_resolution_binning": False}
        call |= {"prompt": "a cat", "num_inference_steps": 2, "output_type": "np", "clean_caption": False}
        made = pipeline_generator(tiny_families.pixart_sigma(), check_determinism=False, **call)
        assert find_family(type(made._pipe)) is FAMILIES[-1]
        return Case(made, TEXTS, {"promt": "a red car"})


class TestSteppableFamilies(SteppableContract):
    @pytest.fixture(scope="class", params=sorted(CALLS.keys() - NOT_STEPPABLE))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        return Case(generator(request.param, num_inference_steps=4), TEXTS)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - NOT_STEPPABLE))
def test_the_last_estimate_is_the_latent_that_is_decoded(name: str) -> None:
    made: Any = generator(name)
    end = made.advance(made.start(draw(made), [{}] * 3), made.steps)
    assert (end.estimate - end.latents).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CALLS)
def test_rows_depend_on_each_other_by_rounding_only(name: str) -> None:
    """What is left of float32's 1e-6 in float64: any true dependence would stay."""
    made = generator(name, CALLS[name][0]().to(torch.float64))
    z, conditions = draw(made), [{}, *TEXTS]
    batch = made.generate(z, conditions).outputs
    for i in range(3):
        alone = made.generate({"latents": z["latents"][[i]]}, [conditions[i]]).outputs
        assert (
            np.abs(np.asarray(batch[i], dtype=float) - np.asarray(alone[0], dtype=float)).max() <= 2e-7
        )  # outputs are float32


@pytest.mark.parametrize("name", CALLS)
def test_shape_and_axes_are_as_declared(name: str) -> None:
    made = generator(name)
    assert made.prior == Gaussian(SHAPES[name])
    family = find_family(type(made._pipe))
    assert family is not FAMILIES[-1]
    assert len(family.axes) == len(SHAPES[name])
    assert isinstance(made, Steppable) == (name not in NOT_STEPPABLE)
    with pytest.raises(ShapeError, match=rf"expected shape .*got \(2, 7\).*axes \({family.axes[0]}, {family.axes[1]}"):
        made.generate({"latents": torch.zeros(2, 7)}, [{}, {}])


@pytest.mark.parametrize("name", CALLS)
def test_saving_and_loading_changes_nothing(name: str, tmp_path: Path) -> None:
    made = generator(name)
    made._pipe.save_pretrained(tmp_path, safe_serialization=True)
    loaded = generator(name, load_pipeline(tmp_path))
    assert dict(loaded.fingerprint) == dict(made.fingerprint)
    z = draw(made, 2)
    again, before = (np.asarray(each.generate(z, [{}] * 2).outputs) for each in (loaded, made))
    assert np.abs(again - before).max() <= 1e-5


@pytest.mark.parametrize("name", sorted(NOT_STEPPABLE))
def test_others_say_why_they_cannot_stop(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{name} cannot stop between steps: it"):
        generator(name).start({}, [])  # type: ignore[attr-defined]


def encoders(pipe: Any) -> list[torch.nn.Module]:
    return [
        module
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module) and name.startswith(("text_encoder", "language_model"))
    ]


@pytest.mark.parametrize("name", CALLS)
def test_every_text_is_embedded_once(name: str) -> None:
    made, seen = generator(name), []
    z = draw(made, 3)
    conditions = [{"prompt": text} for text in ("a red car", "a blue cat", "a red car")]
    first = np.asarray(made.generate(z, conditions).outputs)
    alone = np.asarray(made.generate(z, [{}] * 3).outputs)
    for module in encoders(made._pipe):
        module.register_forward_pre_hook(lambda *_: seen.append(name))
    np.testing.assert_array_equal(made.generate(z, conditions).outputs, first)
    np.testing.assert_array_equal(made.generate(z, [{}] * 3).outputs, alone)
    moved = {"latents": z["latents"][[1, 0, 2]]}
    swapped = np.asarray(made.generate(moved, [conditions[i] for i in (1, 0, 2)]).outputs)
    assert not seen
    assert np.abs(swapped - first[[1, 0, 2]]).max() <= 1e-5


@pytest.mark.parametrize("name", ["AceStepPipeline", "AudioLDM2Pipeline", "QwenImagePipeline", "ZImagePipeline"])
def test_texts_of_different_lengths_are_batched(name: str) -> None:
    made = generator(name)
    z, conditions = draw(made, 3), [{"prompt": text} for text in ("a red car", "a", "a blue cat")]
    together = np.asarray(made.generate(z, conditions).outputs)
    for i in range(3):
        alone = np.asarray(made.generate({"latents": z["latents"][[i]]}, [conditions[i]]).outputs)
        assert np.abs(together[i] - alone[0]).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("StableDiffusionPipeline", "text_encoder"),
        ("FluxPipeline", "text_encoder_2"),
        ("WanPipeline", "tokenizer"),
        ("StableAudioPipeline", "text_encoder"),
    ],
)
def test_a_missing_text_encoder_is_refused(name: str, part: str) -> None:
    pipe = CALLS[name][0]()
    setattr(pipe, part, None)
    pipe.register_modules(**{part: None})
    with pytest.raises(ArgumentError, match=rf"pipe\.{part}: it is missing.*cannot read a prompt"):
        generator(name, pipe)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - WITHOUT_HEIGHT))
def test_a_height_that_does_not_divide_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"(?i)height.*(divisible|multiple of).*\d+.*17"):
        generator(name, height=17, width=16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"height": 16}, "width: expected it beside height"),
        ({"height": 0, "width": 16}, "height: expected a positive whole number of pixels, got 0"),
        ({"height": 16, "width": "16"}, "width: expected a positive whole number of pixels, got '16'"),
        ({"device": "nowhere"}, "device: StableDiffusionPipeline cannot be moved to 'nowhere'"),
    ],
)
def test_sizes_and_devices_that_do_not_exist_are_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        generator("StableDiffusionPipeline", **call)


def test_a_missing_decoder_is_refused_unless_latents_are_asked_for() -> None:
    pipe = tiny.stable_diffusion()
    pipe.register_modules(vae=None)
    with pytest.raises(ArgumentError, match=r"pipe\.vae: it is missing.*cannot decode"):
        generator("StableDiffusionPipeline", pipe)
    generator("StableDiffusionPipeline", pipe, output_type="latent")


def test_urls_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"ip_adapter_image: .* got the URL https://example"):
        generator("StableDiffusionPipeline", ip_adapter_image="https://example.org/a.png")
    assert generator("StableDiffusionPipeline", prompt="a http://car")
