"""Only local folders with safetensors and without code are loaded; everything else is refused before loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers import SteppablePipelineGenerator, load_pipeline, pipeline_generator
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny.NUMPY_2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.stable_diffusion().save_pretrained(tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def nothing_is_loaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "refused" in request.node.name:
        monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", lambda *_, **__: pytest.fail("loaded"))


def edit(name: str, **entries: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, **entries}))

    return change


def pickles_only(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def nested(**entries: Any) -> Callable[[Path], None]:
    """A component that is a pipeline of its own, with such entries."""

    def change(folder: Path) -> None:
        shutil.copytree(folder, folder / "prior")
        edit("prior/model_index.json", **entries)(folder)

    return change


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        cut("unet/diffusion_pytorch_model.safetensors", 2000),
        cut("vae/diffusion_pytorch_model.safetensors", 4),
        cut("text_encoder/model.safetensors", 0),
        edit("unet/config.json", block_out_channels="x"),
        edit("unet/config.json", block_out_channels=[7]),
        edit("scheduler/scheduler_config.json", num_train_timesteps="x"),
        edit("model_index.json", unet=["diffusers", "NoSuchModel"]),
        lambda folder: shutil.rmtree(folder / "scheduler"),
    ],
)
def test_a_broken_folder_is_named(folder: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(folder)
    with pytest.raises(ArgumentError, match=r"folder: .*model.* cannot be loaded as StableDiffusionPipeline \("):
        load_pipeline(folder)


def test_a_folder_of_safetensors_is_loaded_for_evaluation(folder: Path) -> None:
    pipe = load_pipeline(str(folder), dtype=torch.float16)
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert pipe.unet.dtype == torch.float16
    assert not pipe.unet.training


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "WanPipeline"])
def test_offloading_changes_neither_outputs_nor_fingerprint(tmp_path: Path, name: str) -> None:
    make, _ = tiny_families.CALLS[name]
    make().save_pretrained(tmp_path, safe_serialization=True)
    call = {**tiny_families.generator_call(name), "check_determinism": False}
    plain, offloaded = pipeline_generator(load_pipeline(tmp_path), **call), load_pipeline(tmp_path)
    offloaded.enable_model_cpu_offload(device="cpu")
    made = pipeline_generator(offloaded, **call)
    z, none = draw(made), [{}] * 3
    assert dict(made.fingerprint) == dict(plain.fingerprint)
    np.testing.assert_array_equal(made.generate(z, none).outputs, plain.generate(z, none).outputs)
    assert isinstance(made, SteppablePipelineGenerator)
    state = made.advance(made.start(z, none), 1)
    np.testing.assert_array_equal(made.finish(state).outputs, plain.generate(z, none).outputs)


def test_pickles_beside_safetensors_are_not_read(folder: Path) -> None:
    before = load_pipeline(folder).unet.state_dict()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not a pickle")
    after = load_pipeline(folder).unet.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickles_only, r"unet has only diffusion_pytorch_model\.bin; only safetensors are loaded"),
        (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "vae has no weights"),
        (lambda f: (f / "model_index.json").unlink(), r"no model_index\.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "not readable JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "not a JSON object"),
        (lambda f: (f / "pipeline.py").write_text(""), r"code of its own \(pipeline\.py\)"),
        (lambda f: (f / "unet" / "net.py").write_text(""), r"code of its own \(unet/net\.py\)"),
        (edit("model_index.json", _class_name=["pipeline", "Mine"]), r"custom pipeline \['pipeline', 'Mine'\]"),
        (edit("model_index.json", _class_name="Mine"), "custom pipeline 'Mine'"),
        (edit("model_index.json", unet=["my_net", "Net"]), "'unet' comes from 'my_net'"),
        (edit("model_index.json", custom_pipeline="someone/pipeline"), r"custom code \(custom_pipeline\)"),
        (edit("model_index.json", trust_remote_code=True), r"custom code \(trust_remote_code\)"),
        (edit("text_encoder/config.json", auto_map={"AutoModel": "x--y.Z"}), r"text_encoder/config\.json .*auto_map"),
        (edit("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["x--y.Z", None]}), "auto_map"),
        (nested(_class_name="Mine"), r"prior asks for the custom pipeline 'Mine'"),
        (nested(vae=["my_net", "Net"]), "'vae' comes from 'my_net'"),
        (nested(custom_pipeline="someone/pipeline"), r"custom code \(custom_pipeline\)"),
        (lambda f: (nested()(f), pickles_only(f / "prior")), "prior/unet has only diffusion_pytorch_model.bin"),
        (edit("model_index.json", **{"../vae": ["diffusers", "AutoencoderKL"]}), r"names a component '\.\./vae'"),
        (edit("model_index.json", vae=["diffusers", "AutoencoderKL", "x"]), r"expected 'vae' as \[library, class\]"),
        (lambda f: (f / "model_index.json").write_text('{"a":' * 10**5), "not readable JSON"),
        (lambda f: (f / "vae" / "config.json").write_bytes(b"\xff\xfe{"), "not readable JSON"),
    ],
)
def test_a_bad_folder_is_refused(folder: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(folder)
    with pytest.raises(ArgumentError, match=f"folder: .*{message}"):
        load_pipeline(folder)


@pytest.mark.parametrize("url", ["https://example.org/model", "hf://someone/model", "file:///tmp/model"])
def test_a_url_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match=f"folder: expected a local folder, got the URL {url}"):
        load_pipeline(url)


@pytest.mark.parametrize("name", ["stable-diffusion-v1-5/stable-diffusion-v1-5", "/nowhere/at/all"])
def test_a_name_or_a_missing_folder_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="is not a folder"):
        load_pipeline(name)
