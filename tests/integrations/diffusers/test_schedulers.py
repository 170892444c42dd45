"""Schedulers that draw noise while they step are refused by name; the others are taken."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers import pipeline_generator
from surrogate_ax_diffusers.schedulers import check_scheduler
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2

STOCHASTIC = [
    "CMStochasticIterativeScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DDPMWuerstchenScheduler",
    "EulerAncestralDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
    "LTXEulerAncestralRFScheduler",
    "RePaintScheduler",
    "SASolverScheduler",
    "SCMScheduler",
    "ScoreSdeVeScheduler",
    "TCDScheduler",
    "UnCLIPScheduler",
]
DETERMINISTIC = [
    "CogVideoXDDIMScheduler",
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "HeunDiscreteScheduler",
    "IPNDMScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
]


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_ones_are_refused_by_name_with_a_replacement(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"pipe\.scheduler: {name}.* draws fresh noise.*Use (\w+)") as caught:
        check_scheduler(getattr(diffusers, name)(), {})
    instead = str(caught.value).split("Use ")[1].split(":")[0]
    check_scheduler(getattr(diffusers, instead)(), {})  # what is advised is taken


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_ones_are_taken(name: str) -> None:
    check_scheduler(getattr(diffusers, name)(), {"eta": 0.0})


@pytest.mark.parametrize(
    ("scheduler", "call", "named"),
    [
        (diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), {}, "algorithm_type='dpmsolver"),
        (diffusers.EDMDPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), {}, "algorithm_type='dpmsolver"),
        (diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), {}, "stochastic_sampling=False"),
        (diffusers.DDIMScheduler(), {"eta": 0.5}, "eta=0.5 .*Use eta=0"),
    ],
)
def test_a_setting_that_switches_noise_on_is_refused(scheduler: Any, call: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        check_scheduler(scheduler, call)


def test_ignored_eta_is_no_reason_to_refuse() -> None:
    check_scheduler(diffusers.EulerDiscreteScheduler(), {"eta": 1.0})


def test_a_subclass_is_judged_by_its_base() -> None:
    class Mine(diffusers.EulerAncestralDiscreteScheduler):
        pass

    with pytest.raises(UnsupportedError, match="Mine draws fresh noise"):
        check_scheduler(Mine(), {})


def test_a_generator_refuses_before_the_pipeline_is_called() -> None:
    pipe = tiny.stable_diffusion(scheduler=diffusers.LCMScheduler(steps_offset=1))
    pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the text encoder ran"))
    with pytest.raises(UnsupportedError, match="LCMScheduler"):
        pipeline_generator(pipe)


def test_noise_switched_on_by_an_argument_or_a_condition_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"eta=0\.3"):
        pipeline_generator(tiny.stable_diffusion("ddim"), eta=0.3)
    generator = pipeline_generator(tiny.stable_diffusion("ddim"), prompt="a cat")
    with pytest.raises(UnsupportedError, match=r"eta=1\.0"):
        generator.generate({"latents": torch.randn(2, 4, 8, 8)}, [{"eta": 0.0}, {"eta": 1.0}])
