"""LoRAs from local files: what they change, what the fingerprint sees of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax.generation.identity import compare
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny_families.QUIET


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.stable_diffusion().save_pretrained(tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


@pytest.fixture
def make_lora(tmp_path: Path) -> Callable[..., Path]:
    """Writes a LoRA of the U-Net's attention, as training programs do."""

    def make(name: str, seed: int = 0) -> Path:
        pipe = tiny.stable_diffusion()
        pipe.unet.add_adapter(peft.LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
        rng = torch.Generator().manual_seed(seed)
        layers = peft.get_peft_model_state_dict(pipe.unet)
        layers = {key: torch.randn(tensor.shape, generator=rng) for key, tensor in layers.items()}
        pipe.save_lora_weights(tmp_path, unet_lora_layers=layers, weight_name=name)
        return tmp_path / name

    return make


def made(pipe: Any) -> Any:
    return pipeline_generator(pipe, prompt="a red car", num_inference_steps=3, output_type="np")


def outputs(pipe: Any) -> np.ndarray:
    generator = made(pipe)
    return np.stack(generator.generate(draw(generator), [{}] * 3).outputs)


def test_a_lora_changes_outputs_by_its_scale(folder: Path, make_lora: Callable[..., Path]) -> None:
    file = make_lora("style.safetensors")
    plain, whole, none = (outputs(load_pipeline(folder, lora=lora)) for lora in (None, file, {str(file): 0.0}))
    assert np.abs(whole - plain).max() > 0.01
    np.testing.assert_allclose(none, plain, atol=1e-6)
    by_hand = load_pipeline(folder)
    state = by_hand.unet.state_dict()
    lora = load_file(file)
    for key in [key for key in lora if key.endswith("lora_A.weight")]:
        layer = key.removeprefix("unet.").removesuffix(".lora_A.weight")
        state[f"{layer}.weight"] += 0.5 * lora[key.replace("lora_A", "lora_B")] @ lora[key]
    by_hand.unet.load_state_dict(state)
    np.testing.assert_allclose(outputs(load_pipeline(folder, lora={file: 0.5})), outputs(by_hand), atol=1e-5)


def test_several_loras_add_up(folder: Path, make_lora: Callable[..., Path]) -> None:
    one, two = make_lora("one.safetensors", 1), make_lora("two.safetensors", 2)
    both = load_pipeline(folder, lora=[one, two])
    assert both.get_list_adapters() == {"unet": ["lora0", "lora1"]}
    assert sorted(both.get_active_adapters()) == ["lora0", "lora1"]
    parts = [outputs(load_pipeline(folder, lora=file)) for file in (one, two)]
    assert all(np.abs(outputs(both) - part).max() > 0.01 for part in parts)


def test_the_fingerprint_tells_loras_and_scales(folder: Path, make_lora: Callable[..., Path]) -> None:
    file, other = make_lora("style.safetensors", 1), make_lora("other.safetensors", 2)
    first = made(load_pipeline(folder, lora={file: 0.8})).fingerprint
    assert "unet lora0 0.8 (" in first["adapters"]
    assert compare(first, made(load_pipeline(folder, lora={file: 0.5})).fingerprint) == (["adapters"], [])
    assert compare(first, made(load_pipeline(folder, lora={other: 0.8})).fingerprint)[0] == ["weights"]
    assert "adapters" in compare(first, made(load_pipeline(folder)).fingerprint)[0]
    renamed = file.rename(file.with_name("renamed.safetensors"))
    assert compare(first, made(load_pipeline(folder, lora={renamed: 0.8})).fingerprint) == ([], [])


def test_peft_is_asked_for(folder: Path, make_lora: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_lora("style.safetensors")
    monkeypatch.setattr(
        "surrogate_ax_diffusers.lora.find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match="lora: it takes PEFT, which is not installed: pip install peft"):
        load_pipeline(folder, lora=file)
    assert load_pipeline(folder).unet is not None


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ("style.pt", "lora: .*style.pt may be a pickle"),
        ("style.bin", "lora: .*style.bin may be a pickle"),
        ("none.safetensors", "lora: expected a local .safetensors file, got none.safetensors. Nothing is fetched"),
        ("someone/style", "lora: expected a local .safetensors file, got someone/style"),
        (
            {"style.safetensors": "strong"},
            "lora: the scale of style.safetensors: expected a finite number, got 'strong'",
        ),
        ({"style.safetensors": float("nan")}, "lora: the scale of style.safetensors: expected a finite number"),
        ("cut.safetensors", "lora: cut.safetensors is no .safetensors file .* cut short"),
        ("other.safetensors", "lora: other.safetensors does not fit StableDiffusionPipeline .*'lora'"),
        ("shapes.safetensors", "lora: shapes.safetensors does not fit StableDiffusionPipeline"),
        ("nothing.safetensors", "lora: nothing.safetensors has nothing for StableDiffusionPipeline; .* another model"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_lora_is_refused(
    folder: Path, make_lora: Callable[..., Path], lora: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_lora("style.safetensors")
    monkeypatch.chdir(file.parent)
    Path("cut.safetensors").write_bytes(file.read_bytes()[:100])
    state = load_file(file)
    save_file({"unet.conv_in.weight": torch.zeros(2)}, "other.safetensors")
    save_file({key: torch.zeros(3, 5) for key in state}, "shapes.safetensors")
    save_file({f"transformer.{key}": tensor for key, tensor in state.items()}, "nothing.safetensors")
    with pytest.raises(ArgumentError, match=message):
        load_pipeline(folder, lora=lora)


def test_a_pipeline_that_takes_none_says_so(tmp_path: Path, make_lora: Callable[..., Path]) -> None:
    name = "StableAudioPipeline"
    tiny_families.CALLS[name][0]().save_pretrained(tmp_path / "audio", safe_serialization=True)
    with pytest.raises(ArgumentError, match=f"lora: {name} takes none"):
        load_pipeline(tmp_path / "audio", lora=make_lora("style.safetensors"))
