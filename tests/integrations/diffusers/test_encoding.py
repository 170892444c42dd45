"""Encoding, decoding and noising of pipelines: found without a table, right for every family."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch

from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generation import Encodable, Masking, Noising, Steppable
from surrogate_ax_diffusers import PipelineGenerator, avatar_generator, pipeline_generator
from surrogate_ax_diffusers.latent_code import find_order
from surrogate_ax_diffusers.step_support import why_not_invertible
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny, tiny_families
from tests.integrations.diffusers.tiny_families import CALLS

pytestmark = tiny_families.QUIET
ENCODABLE = sorted(CALLS.keys() - {"AudioLDM2Pipeline"})
SOUND = {"StableAudioPipeline", "AceStepPipeline"}


def generator(name: str, pipe: Any = None, **call: Any) -> Any:
    pipe = CALLS[name][0]() if pipe is None else pipe
    return pipeline_generator(pipe, check_determinism=False, **tiny_families.generator_call(name, **call))


@pytest.mark.parametrize("name", ENCODABLE)
def test_final_latents_are_decoded_to_the_outputs(name: str) -> None:
    made = generator(name)
    z = draw(made, 2)
    whole = np.asarray(made.generate(z, [{}] * 2).outputs)
    if isinstance(made, Steppable):
        final = made.latents(made.advance(made.start(z, [{}] * 2), made.steps))
    else:
        latent: Any = generator(name, output_type="latent").generate(z, [{}] * 2).outputs
        final = {"latents": latent}
    assert {k: tuple(v.shape[1:]) for k, v in final.items()} == dict(made.prior.shapes)
    assert np.abs(np.asarray(made.decode(final)) - whole).max() <= 1e-6


@pytest.mark.parametrize("name", ENCODABLE)
def test_encoding_undoes_what_the_pipeline_does_before_its_vae(name: str) -> None:
    """With a VAE whose encoder answers a known latent, the pipeline hands exactly this latent to its decoder."""
    made = generator(name)
    items = np.asarray(made.decode(draw(made, 2)))
    if name not in SOUND:
        items = np.clip(items, 0, 1)
    vae = made._pipe.vae
    own = vae.encode
    kept: list[torch.Tensor] = []

    def encode(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        encoded = own(x, *args, **kwargs)
        kept.append(encoded.latent_dist.mode())
        return encoded

    vae.encode = encode
    final = made.encode(items)
    seen = []
    vae_decode = vae.decode
    vae.decode = lambda v, *args, **kwargs: seen.append(v) or vae_decode(v, *args, **kwargs)
    made.decode(final)
    scale = float(kept[0].abs().max())
    assert float((seen[0] - kept[0]).abs().max()) <= 2e-6 * max(1.0, scale)


def test_the_formulas_of_families_that_publish_them() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(2, 16, 16, 3)).astype(np.float32)
    x = torch.from_numpy(2 * image - 1).permute(0, 3, 1, 2)
    for name in ("StableDiffusionPipeline", "StableDiffusion3Pipeline", "FluxPipeline"):
        made = generator(name)
        vae = made._pipe.vae
        with torch.no_grad():
            mode = vae.encode(x).latent_dist.mode()
        v = (mode - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        if name == "FluxPipeline":
            v = made._pipe._pack_latents(v, 2, 4, 8, 8)
        torch.testing.assert_close(made.encode(image)["latents"], v, rtol=1e-5, atol=1e-5)


def test_half_precision_has_enough_digits() -> None:
    made = generator("FluxPipeline", CALLS["FluxPipeline"][0]().to(torch.bfloat16))
    reference = generator("FluxPipeline")
    code, exact = made._code._found[0], reference._code._found[0]
    assert torch.equal(code.order, exact.order)
    torch.testing.assert_close(code.scale, exact.scale, rtol=1e-2, atol=1e-3)


def test_clips_and_pictures_come_in_several_forms() -> None:
    made = generator("StableDiffusionPipeline")
    image = np.random.default_rng(0).integers(0, 256, size=(2, 16, 16, 3), dtype=np.uint8)
    z = made.encode(image)["latents"]
    assert torch.equal(made.encode([PIL.Image.fromarray(i) for i in image])["latents"], z)
    torch.testing.assert_close(made.encode(torch.from_numpy(image / 255).permute(0, 3, 1, 2))["latents"], z)
    wan = generator("WanPipeline")
    clips = np.random.default_rng(0).integers(0, 256, size=(2, 5, 16, 16, 3), dtype=np.uint8)
    z = wan.encode(clips)["latents"]
    assert torch.equal(wan.encode([[PIL.Image.fromarray(f) for f in clip] for clip in clips])["latents"], z)
    torch.testing.assert_close(wan.encode(torch.from_numpy(clips / 255).permute(0, 1, 4, 2, 3))["latents"], z)


def test_short_sound_ends_in_silence() -> None:
    made = generator("StableAudioPipeline")
    sound = np.random.default_rng(0).uniform(-1, 1, size=(1, 2, 15)).astype(np.float32)
    sound[..., 10:] = 0
    assert torch.equal(made.encode(sound[..., :10])["latents"], made.encode(sound)["latents"])


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        (np.zeros((1, 8, 8, 3)), ShapeError, r"pictures \(n, H, W, C\) = \(n, 16, 16, 3\), got \(1, 8, 8, 3\)"),
        ([PIL.Image.new("L", (16, 16))], ArgumentError, r"mode 'RGB', got 'L'.*convert"),
        (PIL.Image.new("RGB", (16, 16)), ArgumentError, "expected a list of pictures"),
        (np.full((1, 16, 16, 3), 1.5), ArgumentError, r"floats in \[0, 1\]"),
        (np.full((1, 16, 16, 3), np.nan), ArgumentError, "finite"),
        ([], ShapeError, "at least one"),
    ],
)
def test_other_items_are_refused(items: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generator("StableDiffusionPipeline").encode(items)


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "FluxPipeline", "QwenImagePipeline", "Flux2Pipeline"])
def test_a_mask_covers_the_latent_entries_of_its_region(name: str) -> None:
    """Entries of the left half of the VAE's latent, wherever the pipeline keeps them."""
    made = generator(name)
    region = np.zeros((16, 16), dtype=bool)
    region[:, :8] = True
    mask = made.latent_mask(region)["latents"]
    code, _ = made._code._found
    inside = code.to_vae(mask) != code.to_vae(torch.zeros_like(mask))
    assert inside[..., :4].all()
    assert not inside[..., 4:].any()


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        (np.zeros((16, 16), bool), ArgumentError, "selects nothing"),
        (np.ones((16, 16), bool), ArgumentError, "selects everything"),
        (np.ones((8, 8), bool), ShapeError, r"\(16, 16\), got \(8, 8\)"),
        (np.ones((16, 16)), ArgumentError, "truth values"),
    ],
)
def test_masks_without_an_edge_are_refused(region: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generator("StableDiffusionPipeline").latent_mask(region)


def test_noise_is_mixed_as_the_sampler_has_it() -> None:
    """σ and α of the schedule, in the prior's scale at the first step."""
    one = {"latents": torch.ones(1, 4, 8, 8)}
    none = {"latents": torch.zeros(1, 4, 8, 8)}

    def level(made: Any, step: int) -> tuple[float, float]:
        return tuple(float(made.noised(x, e, step)["latents"].mean()) for x, e in ((one, none), (none, one)))  # type: ignore[return-value]

    ddim = generator("StableDiffusionPipeline", tiny.stable_diffusion("ddim"), num_inference_steps=4)
    for s in range(4):
        time = int(ddim._pipe.scheduler.timesteps[s]) if s or ddim.steps else 0
        a = float(ddim._pipe.scheduler.alphas_cumprod[time])
        assert level(ddim, s) == pytest.approx((a**0.5, (1 - a) ** 0.5), abs=1e-6)
    euler = generator("StableDiffusionPipeline", tiny.stable_diffusion("euler"), num_inference_steps=4)
    first = level(euler, 0)
    sigma = [float(v) for v in euler._pipe.scheduler.sigmas]
    start = float(euler._pipe.scheduler.init_noise_sigma)
    assert first == pytest.approx((1 / start, sigma[0] / start), rel=1e-5)
    assert level(euler, 2) == pytest.approx((1, sigma[2]), rel=1e-5)
    assert level(euler, 4) == (1, 0)
    avatars = avatar_generator("red hat", steps=10)
    z = {"latents": torch.ones(1, 3, 16, 16)}
    zero = {"latents": torch.zeros(1, 3, 16, 16)}
    levels = [float(avatars.noised(zero, z, s)["latents"].mean()) for s in range(11)]  # type: ignore[attr-defined]
    assert levels == sorted(levels, reverse=True)
    for s in range(11):
        assert float(avatars.noised(z, z, s)["latents"].mean()) == pytest.approx(1, abs=1e-5)  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="step: expected 0 to 10, got 11"):
        avatars.noised(z, z, 11)  # type: ignore[attr-defined]


def test_abilities_say_the_truth() -> None:
    for name in ("AudioLDM2Pipeline", "FluxPipeline", "StableAudioPipeline", "StableDiffusionPipeline"):
        made = generator(name)
        assert isinstance(made, Encodable) == isinstance(made, Masking) == (name in ENCODABLE)
        assert isinstance(made, Noising) == (isinstance(made, Steppable) and name in ENCODABLE)
    with pytest.raises(UnsupportedError, match="AudioLDM2Pipeline ends in a vocoder"):
        generator("AudioLDM2Pipeline").encode([])
    latents = generator("StableDiffusionPipeline", output_type="latent")
    assert not isinstance(latents, Encodable)
    with pytest.raises(UnsupportedError, match="asked for latents"):
        latents.decode({})
    with pytest.raises(AttributeError, match="does not encode items"):
        PipelineGenerator(tiny.stable_diffusion(), prompt="a cat").encode  # type: ignore[attr-defined] # noqa: B018
    pipe = tiny.stable_diffusion(diffusers.EulerAncestralDiscreteScheduler(steps_offset=1))
    with pytest.raises(ArgumentError, match="encoder: with step_noise, items are not encoded"):
        pipeline_generator(pipe, prompt="a cat", num_inference_steps=2, step_noise=True, encoder=torch.as_tensor)


def test_an_encoder_of_ones_own_takes_the_vaes_place() -> None:
    made: Any = avatar_generator("red hat", steps=2)
    image = np.random.default_rng(0).integers(0, 256, size=(3, 16, 16, 3), dtype=np.uint8)
    assert np.abs(np.asarray(made.decode(made.encode(image))) * 255 - image).max() <= 1e-3


def test_a_pipeline_that_does_more_than_scale_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="scaled and shifted entry by entry"):
        find_order((4,), lambda z: z.sum(dim=1, keepdim=True), torch.float32)
    with pytest.raises(UnsupportedError, match="more than scale and shift"):
        find_order((4,), lambda z: z + 0.1 * torch.sin(7 * z) * z * (1 - z), torch.float32)


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (diffusers.DPMSolverMultistepScheduler(), "solver_order=2 remembers"),
        (diffusers.UniPCMultistepScheduler(solver_order=1), "corrects each step"),
        (diffusers.DDIMScheduler(), "clip_sample=True cuts"),
        (diffusers.DDIMScheduler(clip_sample=False, thresholding=True), "thresholding=True cuts"),
        (diffusers.DDIMScheduler(clip_sample=False), None),
        (diffusers.DPMSolverMultistepScheduler(solver_order=1), None),
        (diffusers.FlowMatchEulerDiscreteScheduler(), None),
    ],
)
def test_steps_that_cannot_be_undone_are_known_by_name(scheduler: Any, reason: str | None) -> None:
    found = why_not_invertible(scheduler)
    assert (found is None) == (reason is None)
    assert found is None or f"{type(scheduler).__name__} " in found
    assert reason is None or reason in str(found)
