"""What the embedded models share: prompts are read before anything runs, and so are images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers import avatar_generator, load_avatars, pipeline_generator
from surrogate_ax_diffusers.embedded import check_prompts
from surrogate_ax_diffusers.families import Pipeline
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return load_avatars()


@pytest.fixture
def idle(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The avatars with a network that must not run."""

    def forward(*_: Any, **__: Any) -> None:
        pytest.fail("the network ran")

    monkeypatch.setattr(pipe.unet, "forward", forward)
    return pipe


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_unknown_words_are_named_with_those_the_model_knows(idle: Pipeline, name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name}: the embedded model does not know \['moustache', 'hats'\]") as e:
        pipeline_generator(idle, **{"prompt": "hat", name: "Red moustache, no hats"})
    assert "Its words are: auburn, background, beard, black," in str(e.value)
    assert "unk" not in str(e.value)


@pytest.mark.parametrize("count", [22, 23])
def test_as_many_words_pass_as_the_text_encoder_reads(pipe: Pipeline, count: int) -> None:
    words = ["red"] * count
    words[-1] = "hat"
    tokens = pipe.tokenizer(", ".join(words), truncation=True).input_ids
    assert (pipe.tokenizer.get_vocab()["hat"] in tokens) == (count == 22)  # what is more would be cut off unseen
    if count == 22:
        check_prompts(pipe, [{"prompt": " ".join(words)}])
        return
    with pytest.raises(ArgumentError, match=r"at most 22 words, got 23\. Leave out the last 1, from 'hat' on"):
        check_prompts(pipe, [{"prompt": " ".join(words)}])


def test_conditions_are_read_before_the_network_runs(idle: Pipeline) -> None:
    made = pipeline_generator(idle, prompt="red hat", num_inference_steps=1, output_type="np")
    z = {"latents": torch.zeros(2, 3, 16, 16)}
    with pytest.raises(ArgumentError, match=r"prompt: the embedded model does not know \['cap'\]"):
        made.generate(z, [{"guidance_scale": 2.0}, {"prompt": "red cap"}])
    with pytest.raises(ArgumentError, match="prompt: the embedded model reads at most 22 words, got 30"):
        made.generate(z, [{}, {"prompt": "red hat, " * 15}])


def test_the_generator_of_avatars_reads_its_prompt() -> None:
    with pytest.raises(ArgumentError, match=r"does not know \['smiling'\]"):
        avatar_generator("smiling")


def test_no_prompt_and_prompts_of_other_pipelines_pass(pipe: Pipeline) -> None:
    check_prompts(pipe, [{}, {"prompt": None}, {"prompt": ""}, {"guidance_scale": 2.0}])
    check_prompts(SimpleNamespace(), [{"prompt": "anything whatever"}])
