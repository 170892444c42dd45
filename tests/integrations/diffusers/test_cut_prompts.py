"""Prompts that are longer than a pipeline reads are said, once each."""

from __future__ import annotations

import logging

import pytest

from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax_diffusers import pipeline_generator
from surrogate_ax_diffusers.cut_prompts import cut_texts
from tests.integrations.diffusers.tiny import NUMPY_2, TOKENS, stable_diffusion


def test_what_is_left_out_is_named() -> None:
    pipe = stable_diffusion()
    fits = " ".join(["a", "red", "car"] * 2)
    assert len(fits.split()) == TOKENS - 2
    long = {"prompt": f"{fits} blue cat", "negative_prompt": fits}
    assert cut_texts(pipe, [long, {"prompt": ["no", "text"]}, {}]) == {f"{fits} blue cat": "blue cat"}


@NUMPY_2
def test_a_generator_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="surrogate_ax_diffusers"):
        generator = pipeline_generator(
            stable_diffusion(), prompt="a red car a red car blue cat", num_inference_steps=1, check_determinism=False
        )
        z = Bank(generator.prior).latents_of([((Draw(0, 0), 1.0),)])
        for _ in range(2):
            generator.generate(z, [{"prompt": "a red car a red car cat"}])
    assert [text for text in caplog.messages if text.startswith("prompt:")] == [
        "prompt: a text encoder of StableDiffusionPipeline leaves out its end, 'blue cat'.",
        "prompt: a text encoder of StableDiffusionPipeline leaves out its end, 'cat'.",
    ]
