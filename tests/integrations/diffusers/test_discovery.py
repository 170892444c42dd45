"""The law of a pipeline's latents is found without running the denoiser, and the pipeline is left as it was."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from surrogate_ax import Gaussian
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax_diffusers import pipeline_generator
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2


class Scaled(diffusers.StableDiffusionPipeline):
    """Scales what it draws, by 3 and the scheduler's 14.6, and takes given latents as they are."""

    def prepare_latents(self, n: Any, c: Any, h: Any, w: Any, dtype: Any, device: Any, rng: Any, latents: Any) -> Any:
        return 3 * super().prepare_latents(n, c, h, w, dtype, device, rng) if latents is None else latents


class Unpacked(diffusers.StableDiffusionPipeline):
    """Takes unpacked latents and packs them itself, as Flux 2 does."""

    def prepare_latents(self, n: Any, c: Any, h: Any, w: Any, dtype: Any, device: Any, rng: Any, latents: Any) -> Any:
        return super().prepare_latents(n, c, h, w, dtype, device, rng, latents).flatten(2), None


class Uneven(diffusers.StableDiffusionPipeline):
    def prepare_latents(self, *args: Any) -> torch.Tensor:
        return super().prepare_latents(*args) * torch.linspace(0, 1, 8)


class Blind(diffusers.StableDiffusionPipeline):
    """Draws in a way that cannot be watched."""

    def prepare_latents(self, *args: Any) -> torch.Tensor:
        return torch.rand(1, 4, 8, 8)


class Deaf(diffusers.StableDiffusionPipeline):
    """Has no way to give latents to what draws them."""

    def prepare_latents(self, *args: Any) -> torch.Tensor:
        return super().prepare_latents(*args)


class Late(diffusers.StableDiffusionPipeline):
    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        self.unet(torch.zeros(1, 4, 8, 8), 0, torch.zeros(1, 1, 32))


def of_class(kind: type[Any]) -> Any:
    pipe = tiny.stable_diffusion("euler")  # multiplies noise by 14.6
    return kind(**pipe.components, requires_safety_checker=False)


@pytest.mark.parametrize(
    ("make", "call", "shape"),
    [
        (lambda: tiny.stable_diffusion("euler"), {}, (4, 8, 8)),
        (lambda: tiny.stable_diffusion("euler"), {"height": 16, "width": 32}, (4, 8, 16)),
        (tiny.flux, {"height": 16, "width": 24}, (24, 16)),
        (lambda: of_class(Unpacked), {}, (4, 8, 8)),
    ],
    ids=["plain", "sized", "packed", "packs by itself"],
)
def test_shape_and_scale_are_found(make: Any, call: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert pipeline_generator(make(), **call).prior == Gaussian(shape)


def test_a_pipeline_that_scales_its_own_draws_only_wants_scaled_latents() -> None:
    prior = pipeline_generator(of_class(Scaled)).prior
    assert isinstance(prior, Gaussian)
    assert prior.shapes == {"latents": (4, 8, 8)}
    assert prior.std["latents"] == pytest.approx(3 * float(tiny.SCHEDULERS["euler"]().init_noise_sigma), rel=1e-4)


def test_half_precision_is_taken_from_the_pipeline() -> None:
    pipe = tiny.stable_diffusion().to(torch.bfloat16)
    generator = pipeline_generator(pipe, prompt="a cat", num_inference_steps=1, output_type="latent")
    assert generator.prior == Gaussian((4, 8, 8))
    outputs = generator.generate({"latents": torch.randn(2, 4, 8, 8)}, [{}, {}]).outputs
    assert outputs.dtype == torch.bfloat16


def test_the_pipeline_and_the_random_state_are_left_alone() -> None:
    pipe = tiny.stable_diffusion()
    pipe.unet.register_forward_pre_hook(lambda *_: pytest.fail("the denoiser ran"))
    before, state = dict(vars(pipe)), torch.get_rng_state()
    pipeline_generator(pipe)
    own = {"_guidance_scale", "_guidance_rescale", "_clip_skip", "_cross_attention_kwargs", "_interrupt"}  # of any call
    assert {k: v for k, v in vars(pipe).items() if k not in own} == {k: v for k, v in before.items() if k not in own}
    assert torch.equal(torch.get_rng_state(), state)
    assert len(pipe.unet._forward_pre_hooks) == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Uneven, "not noise, nor noise mixed"),
        (Blind, "way of its own"),
        (Deaf, "in no shape"),
        (Late, "did not prepare latents before it denoised"),
    ],
)
def test_what_cannot_be_found_is_refused_and_can_be_given(kind: type[Any], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"{reason}.*prior=Gaussian\(shape\)"):
        pipeline_generator(of_class(kind))
    assert pipeline_generator(of_class(kind), prior=Gaussian((4, 8, 8))).prior == Gaussian((4, 8, 8))


def test_a_given_prior_must_have_the_one_part() -> None:
    with pytest.raises(ArgumentError, match="single part 'latents', got"):
        pipeline_generator(tiny.stable_diffusion(), prior=Gaussian({"noise": (4, 8, 8)}))


def test_call_arguments_that_the_pipeline_refuses_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"refused its call arguments \['height', 'width'\].*divisible by 8"):
        pipeline_generator(tiny.stable_diffusion(), height=17, width=17)
