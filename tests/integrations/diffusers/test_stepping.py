"""Pipelines that stop between steps keep the contract; others say why they cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from surrogate_ax import Steppable
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.protocols import Scheduled
from surrogate_ax_diffusers import PipelineGenerator, avatar_generator, pipeline_generator
from tests.contracts.generator_contract import Case, draw
from tests.contracts.steppable_contract import SteppableContract
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny.NUMPY_2


def generator(pipe: Any, **call: Any) -> PipelineGenerator:
    settings = {"prompt": "a cat", "num_inference_steps": 4, "output_type": "np", "check_determinism": False}
    return pipeline_generator(pipe, **{**settings, **call})


class TestAvatars(SteppableContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(avatar_generator("red hat", steps=4), ({"guidance_scale": 1.0}, {"prompt": "dark skin"}))


SCHEDULERS: dict[str, Callable[[], Any]] = {
    **tiny.SCHEDULERS,
    "v": lambda: diffusers.DDIMScheduler(steps_offset=1, clip_sample=False, prediction_type="v_prediction"),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(steps_offset=1),
    "third order": lambda: diffusers.DPMSolverMultistepScheduler(steps_offset=1, solver_order=3),
}


class TestStableDiffusion(SteppableContract):
    @pytest.fixture(scope="class", params=sorted(SCHEDULERS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        pipe = tiny.stable_diffusion(SCHEDULERS[request.param]())
        return Case(generator(pipe), ({"guidance_scale": 1.0}, {"prompt": "a blue car"}))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tiny.stable_diffusion(diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1)), "PNDMScheduler"),
        (
            lambda: tiny.stable_diffusion(diffusers.UniPCMultistepScheduler(steps_offset=1, predict_x0=False)),
            r"with \{'predict_x0': False\}",
        ),
    ],
)
def test_others_say_why_they_cannot(make: Callable[[], Any], reason: str) -> None:
    made = generator(make())
    assert not isinstance(made, Steppable)
    with pytest.raises(UnsupportedError, match=f"start: StableDiffusionPipeline cannot stop.*{reason}"):
        made.start({}, [])  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'begin'"):
        _ = made.begin


def test_conditions_that_change_the_schedule_are_refused() -> None:
    made = avatar_generator("red hat", steps=4)
    assert isinstance(made, Scheduled)
    for name in made.schedule_arguments:
        with pytest.raises(ArgumentError, match=rf"\['{name}'\] change the schedule"):
            made.start(draw(made, 1), [{name: 3}])


@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
def test_latents_may_enter_at_a_later_step(scheduler: str) -> None:
    """A first-order scheduler remembers nothing, so rows put in where others stand end where those do."""
    made = generator(tiny.stable_diffusion(scheduler))
    z = draw(made)
    middle = made.advance(made.start(z, [{}] * 3), 2)
    again = made.start({"latents": middle.latents}, [{}] * 3, step=2)
    a, b = made.finish(middle), made.finish(again)
    assert np.abs(np.asarray(a.outputs) - np.asarray(b.outputs)).max() <= 1e-5
    np.testing.assert_array_equal(b.nfe * 2, a.nfe)


def test_the_pipeline_is_left_as_it_was() -> None:
    pipe = tiny.stable_diffusion("euler")
    made = generator(pipe)
    before = made.generate(draw(made), [{}] * 3).outputs
    own, scheduler = {*vars(pipe)}, {*vars(pipe.scheduler)}
    state = made.advance(made.start(draw(made), [{}] * 3), 2)
    assert vars(pipe).keys() == own
    assert vars(pipe.scheduler).keys() == scheduler
    assert type(pipe) is diffusers.StableDiffusionPipeline
    np.testing.assert_array_equal(made.generate(draw(made), [{}] * 3).outputs, before)
    np.testing.assert_array_equal(made.finish(state).outputs, before)


@pytest.mark.parametrize("scheduler", ["euler", "dpm"])
def test_half_precision_survives_a_stop(scheduler: str) -> None:
    made: Any = generator(tiny.stable_diffusion(scheduler).to(torch.bfloat16), output_type="latent")
    z, none = draw(made), [{}] * 3
    whole = made.generate(z, none).outputs
    state = made.advance(made.start(z, none), 2)
    assert state.latents.dtype == state.estimate.dtype == torch.bfloat16
    assert torch.equal(made.finish(made.select([state], [(0, 0), (0, 1), (0, 2)])).outputs, whole)


def test_two_denoisers_take_turns_across_a_stop() -> None:
    pipe = tiny_families.wan()
    second = copy.deepcopy(pipe.transformer)
    with torch.no_grad():
        second.proj_out.weight.mul_(0.5)
    pipe = diffusers.WanPipeline(**{**pipe.components, "transformer_2": second}, boundary_ratio=0.9)
    call = tiny_families.generator_call("WanPipeline", num_inference_steps=4)
    made: Any = pipeline_generator(pipe, check_determinism=False, **call)
    z, seen = draw(made), []
    whole = made.generate(z, [{}] * 3)
    for name in ("transformer", "transformer_2"):
        getattr(pipe, name).register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    state = made.advance(made.start(z, [{}] * 3), 2)
    kept = made.finish(made.select([state], [(0, 2)]))
    assert set(seen) == {"transformer", "transformer_2"}
    np.testing.assert_allclose(kept.outputs[0], whole.outputs[2], atol=1e-5)
    np.testing.assert_allclose(kept.nfe, whole.nfe[[2]])


def test_nothing_runs_but_the_steps_asked_for() -> None:
    pipe = tiny.stable_diffusion("dpm")
    made, seen, decoded = generator(pipe, guidance_scale=1.0), [], []
    made.steps  # noqa: B018  the first look costs a call
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    pipe.vae.decoder.register_forward_pre_hook(lambda module, args: decoded.append(len(args[0])))
    state = made.advance(made.start(draw(made), [{}] * 3), 2)
    assert (seen, decoded) == ([3, 3], [])
    made.estimate(state)
    assert (seen, decoded) == ([3, 3], [3])
    made.finish(made.select([state], [(0, 1)]))
    assert (seen, decoded) == ([3, 3, 1, 1], [3, 1])


def test_a_loop_that_does_not_look_is_noticed() -> None:
    class Deaf(diffusers.StableDiffusionPipeline):
        interrupt = property(lambda self: True)

        def __call__(self, *args: Any, callback_on_step_end: Any = None, latents: Any = None, **kwargs: Any) -> Any:
            self.prepare_latents(1, 4, 16, 16, torch.float32, "cpu", None, latents)
            return self.unet(torch.zeros(1, 4, 8, 8), 0, torch.zeros(1, 1, 32))

    made = pipeline_generator(Deaf(**tiny.stable_diffusion("euler").components, requires_safety_checker=False))
    with pytest.raises(UnsupportedError, match="does not look at `interrupt`"):
        _ = made.steps  # type: ignore[attr-defined]
