"""Latents and decoded values that are not finite fail their row, whatever the pipeline's output makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, Metric, Objective
from surrogate_ax_diffusers import pipeline_generator
from surrogate_ax_diffusers.finite_rows import DECODED, LATENTS, FinalValues
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2


def generator(pipe: Any, kind: str = "pil") -> Any:
    call = {"prompt": "a cat", "num_inference_steps": 4, "guidance_scale": 1.0, "output_type": kind}
    return pipeline_generator(pipe, check_determinism=False, **call)


def overflowing(pipe: Any, z: torch.Tensor) -> Any:
    """A denoiser that gives NaN where the latent is the second of `z`."""
    inner, first = pipe.unet.forward, list[Any]()

    def forward(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = inner(sample, *args, **kwargs)
        scaled = sample.flatten(1) / sample.flatten(1).norm(dim=1, keepdim=True)
        wanted = z[1].flatten() / z[1].norm()
        first.append(scaled @ wanted > 0.9)
        out[0][scaled @ wanted > 0.9] = torch.nan
        return out

    pipe.unet.forward = forward
    return pipe


def bad_decoder(pipe: Any) -> Any:
    """A decoder that overflows for the second row of a batch."""
    inner = pipe.vae.decoder.forward

    def forward(sample: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = inner(sample, *args, **kwargs)
        out[1] = torch.inf
        return out * 0 + out  # infinity becomes NaN on the way

    pipe.vae.decoder.forward = forward
    return pipe


@pytest.mark.parametrize("kind", ["pil", "np", "pt", "latent"])
def test_latents_that_are_not_finite_fail_their_row(kind: str) -> None:
    pipe = tiny.stable_diffusion("euler")
    z = draw(generator(pipe))
    whole = generator(pipe, kind).generate(z, [{}] * 3)
    made = generator(overflowing(pipe, z["latents"]), kind).generate(z, [{}] * 3)
    assert made.failed == {1: LATENTS}
    assert len(made.outputs) == 2
    for kept, i in enumerate((0, 2)):
        np.testing.assert_allclose(np.asarray(made.outputs[kept]), np.asarray(whole.outputs[i]), atol=1)


@pytest.mark.parametrize("kind", ["pil", "np"])
def test_decoded_values_that_are_not_finite_fail_their_row(kind: str) -> None:
    made = generator(bad_decoder(tiny.stable_diffusion("euler")), kind)
    generated = made.generate(draw(made), [{}] * 3)
    assert generated.failed == {1: DECODED}
    state = made.advance(made.start(draw(made), [{}] * 3), 2)
    assert [estimate is None for estimate in made.estimate(state)] == [False, True, False]
    assert made.finish(state).failed == {1: DECODED}


def test_black_pictures_of_nan_do_not_win() -> None:
    pipe = tiny.stable_diffusion("euler")
    z = draw(generator(pipe))
    dark = Objective(Metric("dark"), score=lambda images, _: [255 - np.asarray(i, dtype=float).mean() for i in images])
    made = Evaluator(generator(overflowing(pipe, z["latents"])), dark)(z)
    assert list(made.status) == ["done", "failed", "done"]
    assert made.reasons == {1: LATENTS}


def test_frames_that_are_decoded_one_by_one_belong_to_their_item() -> None:
    values = FinalValues()
    frames = torch.ones(6, 2, 2)  # two items of three
    frames[4, 0, 0] = torch.nan
    for part in (frames[:4], frames[4:]):
        values.decoded((part,))
    assert values.not_finite(2) == {1: DECODED}
    assert values.not_finite(4) == {}  # rows that belong to no item
    values.stepped(torch.tensor([[1.0], [torch.inf]]))
    assert values.not_finite(2) == {1: LATENTS}
