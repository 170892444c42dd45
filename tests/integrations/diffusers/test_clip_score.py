"""Likeness to a text by CLIP, from a local folder: a tiny CLIP with random weights, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers import ClipScore
from tests.integrations.diffusers.tiny import TOKENS, WORDS, ready_module, tokenizer

SIDE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**shape, "vocab_size": len(WORDS), "max_position_embeddings": TOKENS, "bos_token_id": 1, "eos_token_id": 2}
    vision = {**shape, "image_size": SIDE, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    ready_module(model).save_pretrained(folder)
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(processor, tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((5, 40, 24, 3), dtype=np.float32)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_it_is_the_cosine_of_the_models_own_embeddings(weights: Path, images: np.ndarray) -> None:
    model, processor = CLIPModel.from_pretrained(weights), CLIPProcessor.from_pretrained(weights)
    pictures = [Image.fromarray(np.round(x * 255).astype(np.uint8)) for x in images]
    inputs = processor(text=["red cat"], images=pictures, return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = model(**inputs).logits_per_image[:, 0] / model.logit_scale.exp()
    found = ClipScore("red cat", weights=weights)(images, [{}] * 5)
    assert found == pytest.approx(100 * logits.double().numpy(), abs=1e-3)
    assert np.ptp(found) > 1


def test_batches_and_kinds_of_images_make_no_difference(weights: Path, images: np.ndarray) -> None:
    whole = ClipScore("blue car", weights=weights)
    parts = ClipScore("blue car", weights=weights, batch_size=2)
    expected = whole(images, [{}] * 5)
    assert parts(images, [{}] * 5) == pytest.approx(expected, abs=1e-3)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert whole(list(tensors), [{}] * 5) == pytest.approx(expected, abs=1e-3)
    assert whole([], []).shape == (0,)


def test_several_texts_are_the_mean_of_their_unit_embeddings(weights: Path, images: np.ndarray) -> None:
    one, other, both = (ClipScore(*texts, weights=weights) for texts in (["red"], ["blue car"], ["red", "blue car"]))
    assert torch.allclose(both._text, unit(one._text + other._text), atol=1e-5)
    assert ClipScore("red", weights=weights)(images, [{}] * 5) != pytest.approx(other(images, [{}] * 5), abs=0.1)


def test_it_is_a_score(weights: Path, images: np.ndarray) -> None:
    objective = Objective(Metric("likeness"), score=ClipScore("a red car", weights=weights))
    assert objective.measure(images, [{}] * 5)["likeness"].dtype == np.float64


def test_what_is_left_out_of_a_text_is_said(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="surrogate_ax_diffusers"):
        ClipScore("a red car a blue car", weights=weights)
        assert not caplog.messages
        ClipScore("a red car a blue car red cat", weights=weights)
    assert caplog.messages == ["clip: too long a text, of which the end is left out: 'red cat'."]


def test_what_is_no_clip_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="expected a folder with a CLIP model's config"):
        ClipScore("cat", weights=tmp_path)
    (tmp_path / "config.json").write_text((weights / "config.json").read_text())
    with pytest.raises(ArgumentError, match="cannot be loaded as a CLIP model"):
        ClipScore("cat", weights=tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ArgumentError, match="cannot be loaded as a CLIP model"):
        ClipScore("cat", weights=tmp_path)
    for texts in ([], [""], ["cat", 3]):
        with pytest.raises(ArgumentError, match="texts: expected"):
            ClipScore(*texts, weights=weights)
