"""The embedded model: what is shipped, loading it without a sound, and the exact encoding of images."""

from __future__ import annotations

import importlib.util
import logging
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax_diffusers import avatar_generator, encode_avatars, load_avatars
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
FOLDER = Path(str(files("surrogate_ax_diffusers"))) / "avatars"


@pytest.fixture(scope="module")
def held_out() -> np.ndarray:
    path = Path(__file__).parents[3] / "examples" / "train_avatars" / "dataset.py"
    spec = importlib.util.spec_from_file_location("avatar_dataset", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, _ = module.held_out()
    return np.asarray(images)


def test_what_is_shipped_is_small_and_says_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= 7e6
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} == {".json", ".safetensors", ".md"}
    note = (FOLDER / "README.md").read_text()
    assert "DiceBear" in note
    assert "CC0 1.0" in note
    assert "Apache-2.0" in note


def test_loading_is_silent_and_leaves_logging_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    levels = [logging.getLogger(name).level for name in ("transformers", "diffusers")]
    pipe = load_avatars()
    captured = capfd.readouterr()
    assert captured.out + captured.err + caplog.text == ""
    assert [logging.getLogger(name).level for name in ("transformers", "diffusers")] == levels
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert not any(module.training for module in (pipe.unet, pipe.vae, pipe.text_encoder))
    assert {module.dtype for module in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}


def test_half_precision_can_be_asked_for() -> None:
    assert load_avatars(torch.bfloat16).unet.dtype == torch.bfloat16


def test_encoding_inverts_the_decoder_on_held_out_images(held_out: np.ndarray) -> None:
    z = encode_avatars(held_out)
    assert z.shape == (256, 3, 16, 16)
    assert z.dtype == torch.float32
    assert z.is_contiguous()
    with torch.no_grad():
        decoded = load_avatars().vae.decode(z).sample.permute(0, 2, 3, 1).numpy()
    assert np.abs(decoded - (held_out / 127.5 - 1)).max() <= 1e-6
    np.testing.assert_array_equal(np.rint((decoded + 1) * 127.5), held_out)


def test_all_forms_of_an_image_have_the_same_latent(held_out: np.ndarray) -> None:
    images = held_out[:3]
    z = encode_avatars(images)
    torch.testing.assert_close(encode_avatars((images / 255).astype(np.float32)), z, rtol=0, atol=1e-6)
    assert torch.equal(encode_avatars([PIL.Image.fromarray(image) for image in images]), z)
    assert torch.equal(encode_avatars([PIL.Image.fromarray(image).convert("RGBA") for image in images]), z)
    assert torch.equal(encode_avatars(list(images)), z)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((16, 16, 3), np.uint8), ShapeError, r"= \(16, 16, 3\), got \[\(16, 3\)\]"),
        (np.zeros((1, 3, 16, 16), np.uint8), ShapeError, r"got \[\(3, 16, 16\)\]"),
        ([PIL.Image.new("RGB", (16, 16)), PIL.Image.new("RGB", (32, 32))], ShapeError, r"\(32, 32, 3\)\]"),
        ([], ShapeError, r"got \[\]"),
        (np.full((1, 16, 16, 3), 1.5), ArgumentError, "got float64"),
        (np.full((1, 16, 16, 3), np.nan), ArgumentError, "got float64"),
        (np.full((1, 16, 16, 3), 7), ArgumentError, "got int64"),
    ],
)
def test_other_images_are_refused(images: list[PIL.Image.Image], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode_avatars(images)


def test_the_generator_gives_float_images_and_takes_further_arguments() -> None:
    made = avatar_generator("red hat", steps=1, guidance=1.0, negative_prompt="beard", revision="test")
    assert dict(made.prior.shapes) == {"latents": (3, 16, 16)}
    assert made.fingerprint["revision"] == "test"
    generated = made.generate({"latents": torch.randn(2, 3, 16, 16)}, [{}, {"guidance_scale": 2.0}])
    assert generated.outputs.shape == (2, 16, 16, 3)
    assert generated.outputs.min() >= 0
    assert generated.outputs.max() <= 1
    assert generated.nfe.tolist() == [1, 2]
