"""Quantised pipelines, by a stand-in for a package that quantises, in diffusers' own loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.quantizers import PipelineQuantizationConfig, auto
from diffusers.quantizers.base import DiffusersQuantizer
from diffusers.quantizers.quantization_config import AutoRoundConfig

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2


class Rounding(DiffusersQuantizer):
    """Rounds the weights of linear layers to 127 levels a side, in place of a package that stores them so."""

    def _process_model_before_weight_loading(self, model: Any, **options: Any) -> None:
        model.config.quantization_config = self.quantization_config

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> Any:
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                scale = layer.weight.data.abs().max() / 127
                layer.weight.data = (layer.weight.data / scale).round() * scale
        return model

    is_serializable = is_trainable = True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.stable_diffusion().save_pretrained(tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


@pytest.fixture
def rounding(monkeypatch: pytest.MonkeyPatch) -> PipelineQuantizationConfig:
    """What quantises the U-Net by the stand-in."""
    monkeypatch.setitem(auto.AUTO_QUANTIZER_MAPPING, "auto-round", Rounding)
    return PipelineQuantizationConfig(quant_mapping={"unet": AutoRoundConfig()})


def levels(pipe: Any) -> int:
    """Values that a layer's weights have."""
    return len(torch.unique(pipe.unet.mid_block.attentions[0].transformer_blocks[0].ff.net[2].weight))


def test_the_configuration_reaches_the_components(folder: Path, rounding: PipelineQuantizationConfig) -> None:
    plain, quantised = load_pipeline(folder), load_pipeline(folder, quantization=rounding)
    assert levels(quantised) <= 255 < levels(plain)
    assert torch.equal(
        quantised.text_encoder.state_dict()["final_layer_norm.weight"],
        plain.text_encoder.state_dict()["final_layer_norm.weight"],
    )
    prints = [
        pipeline_generator(pipe, prompt="a red car", num_inference_steps=2).fingerprint for pipe in (plain, quantised)
    ]
    assert prints[0]["weights"] != prints[1]["weights"]


@pytest.mark.usefixtures("rounding")
def test_a_folder_that_was_saved_quantised_is_loaded_so(folder: Path) -> None:
    settings = json.loads((folder / "unet" / "config.json").read_text())
    settings["quantization_config"] = AutoRoundConfig().to_dict()
    (folder / "unet" / "config.json").write_text(json.dumps(settings))
    assert levels(load_pipeline(folder)) <= 255


BITS = {"quant_backend": "bitsandbytes_4bit", "quant_kwargs": {"load_in_4bit": True}}


def test_a_package_that_is_not_installed_is_named(folder: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"folder: .*model needs a package .* pip install bitsandbytes"):
        load_pipeline(folder, quantization={**BITS, "components_to_quantize": ["unet"]})


def test_a_folder_that_needs_such_a_package_names_it(folder: Path) -> None:
    settings = json.loads((folder / "unet" / "config.json").read_text())
    saved = AutoRoundConfig().to_dict()
    (folder / "unet" / "config.json").write_text(json.dumps({**settings, "quantization_config": saved}))
    with pytest.raises(MissingExtraError, match=r"folder: .*model needs a package .*auto-round"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("int8", "quantization: expected a PipelineQuantizationConfig of diffusers .* got str"),
        (AutoRoundConfig(), "quantization: expected a PipelineQuantizationConfig .* got AutoRoundConfig"),
        ({}, "quantization: Must provide a `quant_backend`"),
        (
            {"quant_backend": "ours", "quant_kwargs": {"a": 1}},
            "quantization: Provided quant_backend=ours was not found",
        ),
        ({"bits": 4}, "quantization: .*unexpected keyword argument 'bits'"),
    ],
)
def test_what_is_no_configuration_is_refused(folder: Path, given: Any, message: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ArgumentError, match=message):
        load_pipeline(folder, quantization=given)
