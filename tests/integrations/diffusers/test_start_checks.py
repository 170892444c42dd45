"""What a search takes for granted of a pipeline is checked once, by calls that fail only where the user's own does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
from diffusers import hooks

from surrogate_ax import Steppable
from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers import PipelineGenerator, pipeline_generator
from surrogate_ax_diffusers.short_run import STEPS, shortened
from surrogate_ax_diffusers.start_checks import check_rows, difference
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny_families.QUIET
PICTURE = PIL.Image.effect_noise((16, 16), 60).convert("RGB")
LOW = {"image": PICTURE, "strength": 0.3, "num_inference_steps": 30}


def generator(pipe: Any, **call: Any) -> PipelineGenerator:
    settings = {"prompt": "a cat", "num_inference_steps": 4, "output_type": "np"}
    return pipeline_generator(pipe, **{**settings, **call})


def from_image() -> Any:
    parts = tiny.stable_diffusion().components
    return tiny.ready(diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False))


def inpainting() -> Any:
    parts = tiny.stable_diffusion().components
    return tiny.ready(diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False))


@pytest.mark.parametrize(
    ("make", "call"),
    [
        (from_image, LOW),
        (inpainting, {**LOW, "mask_image": PIL.Image.new("L", (16, 16), 255), "height": 16, "width": 16}),
        (lambda: tiny.stable_diffusion(diffusers.PNDMScheduler(steps_offset=1)), {"num_inference_steps": 10}),
        (lambda: tiny.stable_diffusion("ddim"), {"num_inference_steps": 1}),
    ],
    ids=["from an image at low strength", "inpainting", "Runge-Kutta start", "one step"],
)
def test_what_runs_for_the_user_passes_the_check(make: Callable[[], Any], call: dict[str, Any]) -> None:
    made = generator(make(), **call)
    assert len(made.generate(draw(made, 2), [{}, {}]).outputs) == 2
    assert not any(made._unchecked[each] for each in ("repeats", "rows"))
    assert made.fingerprint["probe"].startswith("cpu float32: ")


def test_a_short_run_denoises_in_its_first_steps_and_decodes() -> None:
    pipe, rows, decoded = tiny.stable_diffusion("euler"), list[int](), list[int]()
    made = generator(pipe, num_inference_steps=9, guidance_scale=1.0, check_determinism=False)
    pipe.unet.conv_in.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    pipe.vae.decoder.register_forward_pre_hook(lambda module, args: decoded.append(len(args[0])))
    with shortened(made._schedulers, made._denoisers):
        made.generate(draw(made, 2), [{}, {}])
    assert (rows, decoded) == ([2] * STEPS, [2])
    assert "forward" not in vars(pipe.unet)
    assert "step" not in vars(pipe.scheduler)


def coupled(pipe: Any) -> Any:
    """Every row sees a little of the mean of all."""
    pipe.unet.conv_in.register_forward_hook(lambda module, args, out: out + 0.1 * out.mean(0, keepdim=True))
    return pipe


def test_rows_that_depend_on_each_other_are_refused() -> None:
    made = generator(coupled(tiny.stable_diffusion("euler")), guidance_scale=1.0)
    made.generate(draw(made, 1), [{}])  # alone there is nothing to see
    with pytest.raises(UnsupportedError, match=r"another output beside a second one than alone, by 0\.\d+ of its size"):
        made.generate(draw(made, 2), [{}, {}])
    anyway = generator(coupled(tiny.stable_diffusion("euler")), guidance_scale=1.0, check_determinism=False)
    assert len(anyway.generate(draw(made, 2), [{}, {}]).outputs) == 2


def cached() -> Any:
    pipe = tiny_families.CALLS["FluxPipeline"][0]()
    pipe.transformer.enable_cache(hooks.FirstBlockCacheConfig(threshold=0.9))
    return pipe


def test_a_step_cache_takes_stopping_away_and_is_named() -> None:
    plain = generator(tiny_families.CALLS["FluxPipeline"][0](), height=16, width=16)
    made = generator(cached(), height=16, width=16)
    assert isinstance(plain, Steppable)
    assert not isinstance(made, Steppable)
    with pytest.raises(UnsupportedError, match="FBCHeadBlock in transformer carries a state from step to step"):
        made.start({}, [])  # type: ignore[attr-defined]


def test_rows_that_a_cache_couples_are_warned_of_by_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_rows(cached(), np.ones(4), np.full(4, 1.01), rough=False)
    assert "FBCHeadBlock in transformer decides for a whole batch" in caplog.text
    caplog.clear()
    check_rows(cached(), np.ones(4), np.full(4, 1 + 1e-5), rough=False)
    assert caplog.text == ""


class Momentum(diffusers.EulerDiscreteScheduler):
    """Carries something that no table of schedulers knows of."""

    def step(self, model_output: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.__dict__.pop("last", model_output) if self.step_index else model_output
        self.last = model_output.clone()
        return super().step(0.5 * model_output + 0.5 * before, *args, **kwargs)

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("last", None)
        super().set_timesteps(*args, **kwargs)


def test_a_stop_that_changes_the_output_is_refused() -> None:
    made: Any = generator(tiny.stable_diffusion(Momentum(steps_offset=1)), num_inference_steps=6)
    made.generate(draw(made, 2), [{}, {}])
    with pytest.raises(
        UnsupportedError, match=r"stopped between its steps ended 0\.\d+ of its size away .* total_trials"
    ):
        made.start(draw(made, 2), [{}, {}])
    anyway: Any = generator(tiny.stable_diffusion(Momentum(steps_offset=1)), check_determinism=False)
    anyway.start(draw(made, 2), [{}, {}])


@pytest.mark.parametrize("scheduler", ["dpm", "euler"])
def test_stepping_is_checked_once_in_short_runs(scheduler: str) -> None:
    pipe, rows = tiny.stable_diffusion(scheduler), list[int]()
    made: Any = generator(pipe, num_inference_steps=8, guidance_scale=1.0)
    made.generate(draw(made, 2), [{}, {}])
    made.steps  # noqa: B018  the first look costs a call
    pipe.unet.conv_in.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    made.start(draw(made, 2), [{}, {}])
    assert rows == [1] * 2 * STEPS
    made.start(draw(made, 2), [{}, {}])
    assert len(rows) == 2 * STEPS


def test_differences_are_in_units_of_the_size() -> None:
    x = np.array([2.0, -2.0, np.nan])
    assert difference(x, x) == 0
    assert difference(x, 1.1 * x) == pytest.approx(0.1)
    assert difference(x, np.array([2.0, np.nan, np.nan])) == difference(x, x[:2]) == np.inf
