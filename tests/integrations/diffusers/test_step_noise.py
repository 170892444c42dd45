"""Stochastic schedulers with their noise in the latent: deterministic, batched, and different where plain calls are."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian, Steppable
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax_diffusers import pipeline_generator
from surrogate_ax_diffusers.schedulers import check_scheduler
from surrogate_ax_diffusers.step_noise import injected_step_noise, part_name
from tests.contracts.generator_contract import Case, GeneratorContract, difference, draw, numbers
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2

STEPS = 3
TEXTS = ({"prompt": "a red car"}, {"prompt": "a blue cat"})
SCHEDULERS = {
    "ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(steps_offset=1),
    "ancestral of second order": lambda: diffusers.KDPM2AncestralDiscreteScheduler(steps_offset=1),
    "sde": lambda: diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", steps_offset=1),
    "ddpm": lambda: diffusers.DDPMScheduler(steps_offset=1, clip_sample=False),
    "ddim": lambda: diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
    "lcm": lambda: diffusers.LCMScheduler(steps_offset=1),
}
DRAWS = {"ancestral of second order": STEPS - 1, "lcm": STEPS - 1}  # the others draw at every step


def call(kind: str) -> dict[str, Any]:
    common = {"prompt": "a cat", "num_inference_steps": STEPS, "output_type": "np"}
    return {**common, **({"eta": 1.0} if kind == "ddim" else {})}


def generator(kind: str, **options: Any) -> Any:
    pipe = tiny.stable_diffusion(SCHEDULERS[kind]())
    return pipeline_generator(pipe, **{"step_noise": True, **call(kind), **options})


class TestStochastic(GeneratorContract):
    @pytest.fixture(scope="class", params=sorted(SCHEDULERS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        made = generator(request.param)
        assert made.prior.shapes["noises"] == (DRAWS.get(request.param, STEPS), 4, 8, 8)
        return Case(made, TEXTS, {"promt": "a red car"})


class TestFlowMatching(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        pipe = tiny.flux()
        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
        size = {"height": 16, "width": 16, "max_sequence_length": 8}
        settings = {"prompt": "a cat", "num_inference_steps": 2, "output_type": "np", **size}
        return Case(pipeline_generator(pipe, step_noise=True, **settings), TEXTS)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_plain_calls_differ_where_the_generator_repeats(kind: str) -> None:
    made = generator(kind)
    z = draw(made, 1)
    plain = [made._pipe(**call(kind), latents=z["latents"].clone())[0] for _ in range(2)]
    assert difference(plain[0], plain[1]) > 1e-3
    assert difference(*(numbers(made.generate(z, [{}])) for _ in range(2))) == 0


@pytest.mark.parametrize("kind", ["ancestral", "sde", "ddpm", "ddim"])
def test_given_noise_is_what_the_pipeline_would_have_drawn(kind: str) -> None:
    made = generator(kind)
    z = draw(made, 1)
    count = z["noises"].shape[1]
    rng = torch.Generator().manual_seed(7)
    drawn = torch.cat([torch.randn(1, 1, 4, 8, 8, generator=rng) for _ in range(count)], dim=1)
    own = made._pipe(**call(kind), latents=z["latents"].clone(), generator=torch.Generator().manual_seed(7))[0]
    assert difference(numbers(made.generate({**z, "noises": drawn}, [{}])), np.asarray(own, dtype=np.float64)) <= 1e-6


def test_every_draw_matters_and_a_swapped_row_shows() -> None:
    made = generator("ddpm")
    z = draw(made, 2)
    outputs = numbers(made.generate(z, [{}] * 2))
    for s in range(z["noises"].shape[1] - 1):  # the last is drawn and multiplied by 0
        changed = z["noises"].clone()
        changed[:, s] *= -1
        assert difference(numbers(made.generate({**z, "noises": changed}, [{}] * 2)), outputs) > 1e-3
    swapped = {**z, "noises": z["noises"].flip(0)}
    assert difference(numbers(made.generate(swapped, [{}] * 2)), outputs) > 1e-3


def test_the_global_generator_is_left_alone() -> None:
    made = generator("ancestral")
    z = draw(made, 1)
    made.generate(z, [{}])  # its check of determinism
    before = torch.get_rng_state()
    made.generate(z, [{}])
    assert torch.equal(torch.get_rng_state(), before)


def test_building_runs_the_denoiser_once() -> None:
    pipe = tiny.stable_diffusion(SCHEDULERS["ddpm"]())
    calls: list[int] = []
    forward = pipe.unet.forward
    pipe.unet.forward = lambda *a, **k: calls.append(1) or forward(*a, **k)
    pipeline_generator(pipe, step_noise=True, **{**call("ddpm"), "num_inference_steps": 30})
    assert len(calls) == 1


def test_a_scale_of_the_first_latent_is_kept() -> None:
    law = Gaussian((4, 8, 8), std=2.0)
    prior = generator("ancestral", prior=law).prior
    assert dict(prior.std) == {"latents": 2.0, "noises": 1.0}
    assert prior.fingerprint != generator("ancestral").prior.fingerprint


@pytest.mark.parametrize("name", ["num_inference_steps", "eta"])
def test_what_fixes_the_number_of_draws_cannot_vary(name: str) -> None:
    made = generator("ddim")
    with pytest.raises(ArgumentError, match=f"{name}.*changes the shape of the latent"):
        made.generate(draw(made, 1), [{name: 1}])


def test_a_scheduler_without_noise_is_told_so() -> None:
    with pytest.raises(ArgumentError, match=r"step_noise: .*DDIMScheduler.* draw no noise"):
        pipeline_generator(tiny.stable_diffusion("ddim"), step_noise=True, prompt="a cat", num_inference_steps=2)


def test_it_cannot_stop_between_steps_and_says_why() -> None:
    made = generator("ddim")
    assert not isinstance(made, Steppable)
    with pytest.raises(UnsupportedError, match=r"start: .*noise from the latent"):
        made.start({}, [])


def test_refused_schedulers_name_the_option_where_it_helps() -> None:
    with pytest.raises(UnsupportedError, match=r"Or search its noise as well: pipeline_generator\(pipe, step_noise"):
        check_scheduler(diffusers.EulerAncestralDiscreteScheduler(), {})
    for name in ("ScoreSdeVeScheduler", "RePaintScheduler"):  # which draw outside `step`, or go back
        with pytest.raises(UnsupportedError) as caught:
            check_scheduler(getattr(diffusers, name)(), {}, step_noise=True)
        assert "step_noise" not in str(caught.value)


class _Draws:
    def step(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape)


def test_noise_of_another_count_or_shape_is_refused() -> None:
    scheduler, x = _Draws(), torch.zeros(2, 3)
    schedulers, noises = {"scheduler": scheduler}, {"scheduler": torch.ones(2, 1, 3)}
    with injected_step_noise(schedulers, noises):
        assert torch.equal(scheduler.step(x), torch.ones(2, 3))
    assert "step" not in vars(scheduler)
    with pytest.raises(ShapeError, match="draw 2"), injected_step_noise(schedulers, noises):
        scheduler.step(scheduler.step(x))
    with pytest.raises(ShapeError, match=r"shape \(1, 3\)"), injected_step_noise(schedulers, noises):
        scheduler.step(x[:1])
    with pytest.raises(ShapeError, match="not used"), injected_step_noise(schedulers, noises):
        pass


def test_parts_are_named_after_their_scheduler() -> None:
    assert part_name("scheduler") == "noises"
    assert part_name("bb_ca_scheduler") == "noises_bb_ca"
