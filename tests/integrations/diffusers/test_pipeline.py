"""What a pipeline is called with, what it costs, and what is left of the user's object afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput

from surrogate_ax.errors import ArgumentError, MismatchError, ShapeError, UnsupportedError
from surrogate_ax_diffusers import FAMILIES, Family, PipelineGenerator, pipeline_generator
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2


def latents(n: int, rng: int = 0) -> dict[str, torch.Tensor]:
    return {"latents": torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(rng))}


def generator(pipe: Any = None, **options: Any) -> PipelineGenerator:
    settings = {"prompt": "a cat", "num_inference_steps": 2, "output_type": "latent", "check_determinism": False}
    return pipeline_generator(tiny.stable_diffusion() if pipe is None else pipe, **{**settings, **options})


class Recorded(diffusers.StableDiffusionPipeline):
    """Does not denoise; remembers how it was called, and returns what is asked for."""

    calls: list[dict[str, Any]]
    withheld: Sequence[int] = ()
    surplus = 0

    def __call__(
        self,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        guidance_scale: float = 7.5,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        output_type: str = "pil",
        latents: torch.Tensor | None = None,
    ) -> StableDiffusionPipelineOutput:
        if latents is None:
            self.prepare_latents(1, 4, 16, 16, torch.float32, "cpu", None, None)
        given = {"prompt": prompt, "negative_prompt": negative_prompt, "n": num_images_per_prompt}
        self.calls.append({**given, "guidance_scale": guidance_scale, "latents": latents.clone()})
        flags = [i in self.withheld for i in range(len(latents))]
        images = latents.mul_(2).numpy()[: len(latents) + self.surplus]
        return StableDiffusionPipelineOutput(images=images, nsfw_content_detected=flags)


def recorded(**call: Any) -> tuple[PipelineGenerator, Recorded]:
    pipe = Recorded(**tiny.stable_diffusion("euler").components, requires_safety_checker=False)
    pipe.calls = []
    return pipeline_generator(pipe, check_determinism=False, **call), pipe


def test_equal_conditions_share_a_call_with_one_prompt() -> None:
    made, pipe = recorded(prompt="a cat")
    made.generate(latents(5), [{"guidance_scale": 2.0}] * 5)
    (call,) = pipe.calls
    assert (call["prompt"], call["n"], call["guidance_scale"]) == ("a cat", 5, 2.0)


def test_differing_prompts_share_a_call_and_other_arguments_do_not() -> None:
    made, pipe = recorded(prompt="a cat")
    conditions = [{"prompt": "a car"}, {}, {"guidance_scale": 2.0}, {"prompt": "a car", "guidance_scale": 7.5}, {}]
    z = latents(5)
    outputs = made.generate(z, conditions).outputs
    assert [call["prompt"] for call in pipe.calls] == [["a car", "a cat", "a cat"], "a cat", "a car"]
    assert [len(call["latents"]) for call in pipe.calls] == [3, 1, 1]
    np.testing.assert_array_equal(outputs, 2 * z["latents"].numpy())  # in order, though called in groups


def test_items_with_and_without_a_negative_prompt_are_not_mixed() -> None:
    made, pipe = recorded(prompt="a cat")
    made.generate(latents(3), [{"negative_prompt": "blue"}, {"negative_prompt": None}, {"negative_prompt": "red"}])
    called = [(call["prompt"], call["negative_prompt"]) for call in pipe.calls]
    assert called == [(["a cat", "a cat"], ["blue", "red"]), ("a cat", None)]


def test_a_family_row_says_how_a_pipeline_is_driven() -> None:
    row = Family("lists", ("Recorded",), repeat=(), rows=("prompt",), shape=("height", "guidance_scale"))
    made, pipe = recorded(prompt="a cat", family=row)
    made.generate(latents(2), [{}, {}])
    assert pipe.calls[0]["prompt"] == ["a cat", "a cat"]
    with pytest.raises(ArgumentError, match="'guidance_scale' cannot vary between items"):
        made.generate(latents(1), [{"guidance_scale": 2.0}])
    assert FAMILIES[-1].classes == ("*",)


def test_withheld_outputs_fail_with_a_reason() -> None:
    made, pipe = recorded(prompt="a cat")
    pipe.withheld = (1,)
    z = latents(4)
    generated = made.generate(z, [{}, {}, {"guidance_scale": 2.0}, {"guidance_scale": 2.0}])
    assert set(generated.failed) == {1, 3}  # the second of either group
    assert "safety checker" in generated.failed[1]
    np.testing.assert_array_equal(generated.outputs, 2 * z["latents"][[0, 2]].numpy())
    assert generated.nfe.shape == (4,)


def test_a_pipeline_that_returns_another_number_is_refused() -> None:
    made, pipe = recorded(prompt="a cat")
    pipe.surplus = -1
    with pytest.raises(ShapeError, match="returned 2 outputs for n = 3 latents"):
        made.generate(latents(3), [{}] * 3)


@pytest.mark.parametrize(
    ("call", "cost"),
    [
        ({"guidance_scale": 1.0}, 2),
        ({"guidance_scale": 3.0}, 4),
        ({"guidance_scale": 3.0, "num_inference_steps": 3}, 6),
    ],
)
def test_cost_is_denoiser_rows(call: dict[str, Any], cost: int) -> None:
    generated = generator().generate(latents(3), [{}, call, call])
    np.testing.assert_array_equal(generated.nfe, [4, cost, cost])  # the first has the default guidance of 7.5


def test_second_order_steps_cost_what_they_evaluate() -> None:
    pipe = tiny.stable_diffusion(diffusers.HeunDiscreteScheduler(steps_offset=1))
    assert generator(pipe, guidance_scale=1.0).generate(latents(2), [{}, {}]).nfe.tolist() == [3, 3]


@pytest.mark.parametrize(("kind", "type_"), [("np", np.ndarray), ("pt", torch.Tensor), ("pil", list)])
def test_groups_are_put_together_in_the_pipelines_own_form(kind: str, type_: type) -> None:
    made = generator(output_type=kind)
    conditions = [{}, {"guidance_scale": 1.0}, {}]
    outputs = made.generate(latents(3), conditions).outputs
    assert isinstance(outputs, type_)
    for i in range(3):
        z = {"latents": latents(3)["latents"][i : i + 1]}
        alone = made.generate(z, [conditions[i]]).outputs[0]
        assert isinstance(alone, PIL.Image.Image) == (kind == "pil")
        np.testing.assert_allclose(np.asarray(outputs[i], dtype=float), np.asarray(alone, dtype=float), atol=1)


def test_no_latents_give_no_outputs() -> None:
    generated = generator().generate(latents(0), [])
    assert len(generated.outputs) == len(generated.nfe) == 0


def test_texts_are_embedded_once_each() -> None:
    pipe = tiny.stable_diffusion()
    made, seen = generator(pipe), []
    pipe.text_encoder.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    conditions = [{"prompt": text} for text in ("a cat", "a car", "a cat")]
    first = made.generate(latents(3), conditions).outputs
    assert sum(seen) > 0
    seen.clear()
    again = made.generate(latents(3), conditions).outputs
    assert torch.equal(first, again)
    swapped = made.generate({"latents": latents(3)["latents"][[1, 0, 2]]}, [conditions[i] for i in (1, 0, 2)]).outputs
    assert not seen
    assert (swapped - first[[1, 0, 2]]).abs().max() <= 1e-5


def test_given_embeddings_pass_through() -> None:
    pipe = tiny.stable_diffusion()
    embeddings, _ = pipe.encode_prompt("a car", "cpu", 1, False)
    z = latents(2)
    a = generator(pipe, prompt=None, prompt_embeds=embeddings, guidance_scale=1.0).generate(z, [{}, {}]).outputs
    b = generator(pipe, prompt="a car", guidance_scale=1.0).generate(z, [{}, {}]).outputs
    assert torch.equal(a, b)


def test_the_users_pipeline_keeps_its_settings(capfd: pytest.CaptureFixture[str]) -> None:
    pipe = tiny.stable_diffusion()
    pipe.set_progress_bar_config(desc="mine")
    made = generator(pipe)
    own = {*vars(pipe), "_num_timesteps"}  # which any call sets
    made.generate(latents(1), [{}])
    assert vars(pipe).keys() == own
    assert pipe._progress_bar_config == {"desc": "mine"}
    assert not pipe.unet._forward_pre_hooks
    assert capfd.readouterr().err == ""
    pipe.unet.forward = None
    with pytest.raises(TypeError):
        made.generate(latents(1), [{}])
    assert vars(pipe).keys() == own
    assert not pipe.unet._forward_pre_hooks


def test_a_replaced_scheduler_is_refused() -> None:
    pipe = tiny.stable_diffusion()
    made = generator(pipe)
    pipe.scheduler = tiny.SCHEDULERS["ddim"]()
    with pytest.raises(MismatchError, match=r"pipe\.scheduler was replaced"):
        made.generate(latents(1), [{}])


class NoisyEuler(diffusers.EulerDiscreteScheduler):
    def step(self, *args: Any, **kwargs: Any) -> Any:
        (sample, *rest) = super().step(*args, **kwargs)
        return (sample + 0.01 * torch.randn_like(sample), *rest)


def dropout() -> Any:
    pipe = tiny.stable_diffusion()
    pipe.unet.conv_in.register_forward_hook(lambda m, args, out: torch.nn.functional.dropout(out, 0.1, m.training))
    pipe.unet.train()
    return pipe


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: tiny.stable_diffusion(NoisyEuler(steps_offset=1)), "something in it draws noise"),
        (dropout, r"training mode: \['unet'\]; call \.eval\(\)"),
    ],
    ids=["scheduler", "dropout"],
)
def test_outputs_that_do_not_repeat_are_refused_unless_asked_for(make: Callable[[], Any], hint: str) -> None:
    pipe = make()
    with pytest.raises(UnsupportedError, match=hint):
        generator(pipe, check_determinism=True).generate(latents(2), [{}, {}])
    assert len(generator(pipe).generate(latents(2), [{}, {}]).outputs) == 2


def test_the_start_is_checked_once_in_a_few_steps() -> None:
    pipe = tiny.stable_diffusion()
    made, rows = generator(pipe, check_determinism=True, guidance_scale=1.0, num_inference_steps=5), []
    pipe.unet.conv_in.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    made.generate(latents(1), [{}])
    assert rows == [1] * 3 + [1] * 3 + [1] * 5  # two short runs, and the call
    rows.clear()
    made.generate(latents(2), [{}, {}])
    assert rows == [1] * 3 + [2] * 3 + [2] * 5  # one row alone and beside another, and the call
    rows.clear()
    made.generate(latents(2), [{}, {}])
    assert rows == [2] * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"promt": "a cat"}, "promt: StableDiffusionPipeline takes no such call argument. Did you mean 'prompt'"),
        ({"zzz": 1}, "zzz: .* It takes \\['callback_on_step_end"),
        ({"latents": torch.zeros(1)}, "latents: .* passes the latents"),
        ({"generator": torch.Generator()}, "generator: .* only source of randomness"),
        ({"return_dict": False}, "return_dict"),
        ({"num_images_per_prompt": 2}, "num_images_per_prompt: .* sets it itself"),
        ({"callback_on_step_end": print}, "callback_on_step_end: cannot be a call argument"),
        ({"prompt": ["a cat", "a car"]}, "prompt: expected one text, got 2 in a list"),
    ],
)
def test_wrong_call_arguments_are_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        pipeline_generator(tiny.stable_diffusion(), **call)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"promt": "a cat"}, "takes no such condition. Did you mean 'prompt'"),
        ({"latents": 1}, "latents: cannot be a condition"),
        ({"height": 32}, "'height' cannot vary between items, because it changes the shape"),
        ({"output_type": "np"}, "'output_type' cannot vary between items, because it has one kind"),
        ({"callback_on_step_end": print}, "callback_on_step_end: cannot be a condition"),
        ({"negative_prompt": ["blue"]}, "negative_prompt: expected one text"),
    ],
)
def test_wrong_conditions_are_refused_before_anything_runs(condition: dict[str, Any], message: str) -> None:
    pipe = tiny.stable_diffusion()
    made = generator(pipe)
    pipe.unet.register_forward_pre_hook(lambda *_: pytest.fail("the denoiser ran"))
    with pytest.raises(ArgumentError, match=message):
        made.generate(latents(2), [{}, condition])


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(ArgumentError, match="pipe: expected a diffusers DiffusionPipeline, got UNet2DConditionModel"):
        pipeline_generator(tiny.unet(cross_attention_dim=32, attention_head_dim=4))


def test_a_pipeline_without_latents_is_refused() -> None:
    blocks = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    network = diffusers.UNet2DModel(**blocks, norm_num_groups=4)
    pipe = diffusers.DDIMPipeline(network, diffusers.DDIMScheduler())
    with pytest.raises(UnsupportedError, match="DDIMPipeline takes no argument `latents`"):
        pipeline_generator(pipe)


def test_a_pipeline_without_a_known_denoiser_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"none of the denoisers \['net'\].*'unet'"):
        generator(family=Family("other", ("*",), denoisers=("net",)))
