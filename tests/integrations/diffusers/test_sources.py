"""Pipelines from the Hugging Face cache and from single files: found, checked, and nothing is fetched."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import IncompleteSnapshotError
from safetensors.torch import load_file, save_file

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers import load_pipeline
from tests.integrations.diffusers import tiny
from tests.integrations.diffusers.single_file import save_single_file, tensors

pytestmark = tiny.NUMPY_2
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def pipe() -> Any:
    return tiny.stable_diffusion()


@pytest.fixture
def folder(tmp_path: Path, pipe: Any) -> Path:
    pipe.save_pretrained(tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


@pytest.fixture
def snapshot(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of a repository "someone/tiny" in a cache, as `hf download` makes it: links to files by hash."""
    repository = tmp_path / "hub" / "models--someone--tiny"
    snapshot, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    blobs.mkdir(parents=True)
    for i, file in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, blobs / f"{i:040x}")
        link.symlink_to(os.path.relpath(blobs / f"{i:040x}", link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return snapshot


def same(one: Any, other: Any) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_a_repository_in_the_cache_is_loaded(pipe: Any, revision: str | None) -> None:
    loaded = load_pipeline("someone/tiny", revision=revision)
    assert same(loaded, pipe)
    assert not loaded.unet.training


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/else", None, r"someone/else is not a folder, .*cache, .*hub\. .* hf download someone/else$"),
        (
            "someone/tiny",
            "v2",
            r"and no revision 'v2' of a repository of that name is in .* hf download someone/tiny --revision v2$",
        ),
        ("some--one/tiny", None, "neither a folder nor a repository's id"),
        ("someone/tiny/more", None, "someone/tiny/more is not a folder"),
    ],
)
def test_what_is_not_in_the_cache_is_named(name: str, revision: str | None, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        load_pipeline(name, revision=revision)


def test_a_folder_goes_before_a_repository(snapshot: Path, tmp_path: Path) -> None:
    other = tiny.stable_diffusion("euler")
    other.save_pretrained(tmp_path / "someone" / "tiny", safe_serialization=True)
    assert type(load_pipeline("someone/tiny").scheduler).__name__ == "EulerDiscreteScheduler"
    with pytest.raises(ArgumentError, match="revision: only a repository in the Hugging Face cache has one"):
        load_pipeline("someone/tiny", revision="v1")


@pytest.mark.usefixtures("snapshot")
def test_a_part_of_a_repository_will_do(snapshot: Path, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def incomplete(*arguments: object, **options: object) -> None:
        raise IncompleteSnapshotError("a checkpoint of a training run is missing", str(snapshot))

    monkeypatch.setattr("surrogate_ax_diffusers.sources.snapshot_download", incomplete)
    assert same(load_pipeline("someone/tiny"), pipe)
    (snapshot / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ArgumentError, match=r"vae has no weights; only safetensors are loaded\. Download them"):
        load_pipeline("someone/tiny")


def linked(snapshot: Path, name: str, content: bytes) -> None:
    blob = snapshot.parents[1] / "blobs" / f"{abs(hash(name)):040x}"
    blob.write_bytes(content)
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).symlink_to(blob)


def pickles_only(snapshot: Path) -> None:
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    linked(snapshot, "unet/diffusion_pytorch_model.bin", b"")


def linked_folder(snapshot: Path) -> None:
    """A component that is a link to a folder with code in it."""
    moved = snapshot.parents[1] / "elsewhere"
    shutil.copytree(snapshot / "unet", moved)
    shutil.rmtree(snapshot / "unet")
    (moved / "net.py").write_text("")
    (snapshot / "unet").symlink_to(moved)


def loop(snapshot: Path) -> None:
    """A folder that is a link to one above, which is gone through once."""
    (snapshot / "unet" / "again").symlink_to(snapshot)
    linked(snapshot, "vae/last.py", b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickles_only, r"unet has only diffusion_pytorch_model\.bin"),
        (lambda s: linked(s, "pipeline.py", b""), r"code of its own \(pipeline\.py\)"),
        (linked_folder, r"code of its own \(unet/net\.py\)"),
        (loop, r"code of its own \(vae/last\.py\)"),
        (lambda s: linked(s, "unet/config.json", b'{"auto_map": {"a": "b"}}'), r"unet/config\.json .*auto_map"),
        (
            lambda s: (s / "unet" / "diffusion_pytorch_model.safetensors").resolve().unlink(),
            r"diffusion_pytorch_model\.safetensors is a link to a file that is gone\. Download it again",
        ),
        (
            lambda s: linked(s, "unet/diffusion_pytorch_model.safetensors", pickle.dumps({"a": 1})),
            "cannot be loaded as StableDiffusionPipeline",
        ),
    ],
)
def test_links_are_seen_through(snapshot: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(snapshot)
    with pytest.raises(ArgumentError, match=f"folder: .*{message}"):
        load_pipeline("someone/tiny")


@pytest.fixture
def single(tmp_path: Path, folder: Path, pipe: Any) -> Path:
    """One file with all weights, beside a folder with configurations only."""
    save_single_file(pipe, tmp_path / "tiny.safetensors")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    return tmp_path / "tiny.safetensors"


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Diffusers asks the hub for configurations that it lacks, even with `local_files_only`."""
    asked = list[object]()
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(f"diffusers.loaders.single_file.{name}", lambda *a, **o: asked.append(a), raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **o: asked.append(a))
    yield
    assert not asked


@pytest.mark.parametrize("name", [None, "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"])
def test_one_file_is_loaded(single: Path, folder: Path, pipe: Any, name: str | None) -> None:
    loaded = load_pipeline(single, pipeline=name, config=folder)
    assert type(loaded).__name__ == (name or "StableDiffusionPipeline")
    assert same(loaded, pipe)
    assert not any(part.training for part in (loaded.unet, loaded.vae, loaded.text_encoder))


def test_dtype_and_scheduler_of_one_file(single: Path, folder: Path) -> None:
    loaded = load_pipeline(single, config=folder, dtype=torch.float16, scheduler=tiny.SCHEDULERS["euler"]())
    assert loaded.unet.dtype == loaded.text_encoder.dtype == torch.float16
    assert type(loaded.scheduler).__name__ == "EulerDiscreteScheduler"


def test_a_repository_configures_one_file(snapshot: Path, pipe: Any, tmp_path: Path) -> None:
    save_single_file(pipe, tmp_path / "tiny.safetensors")
    assert same(load_pipeline(tmp_path / "tiny.safetensors", config="someone/tiny"), pipe)


@pytest.mark.parametrize("absent", [("cond_stage_model",), ("first_stage_model",), ("cond_stage", "first_stage")])
def test_components_that_one_file_lacks_come_from_the_folder(
    tmp_path: Path, folder: Path, pipe: Any, absent: tuple[str, ...]
) -> None:
    save_single_file(pipe, tmp_path / "all.safetensors")
    kept = {name: t for name, t in load_file(tmp_path / "all.safetensors").items() if not name.startswith(absent)}
    save_file(kept, tmp_path / "some.safetensors")
    assert same(load_pipeline(tmp_path / "some.safetensors", config=folder), pipe)
    (folder / "text_encoder" / "model.safetensors").rename(folder / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(ArgumentError, match=r"text_encoder has only pytorch_model\.bin; only safetensors"):
        load_pipeline(tmp_path / "some.safetensors", config=folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "model.diffusion_model.middle_block.1.norm.weight",
            "cannot be loaded as StableDiffusionPipeline .* lack weights",
        ),
        ("first_stage_model.decoder.conv_in.bias", "cannot be loaded as StableDiffusionPipeline .* lack weights"),
        (
            "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            r"lacks 1 weights of text_encoder, such as encoder\.layers\.0\.mlp\.fc1\.weight",
        ),
    ],
)
def test_a_file_that_lacks_weights_is_refused(single: Path, folder: Path, name: str, message: str) -> None:
    state = load_file(single)
    del state[name]
    save_file(state, single)
    with pytest.raises(ArgumentError, match=rf"tiny\.safetensors {message}"):
        load_pipeline(single, config=folder)


def test_a_pickle_beside_configurations_is_refused(single: Path, folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"vae has only diffusion_pytorch_model\.bin"):
        load_pipeline(single, config=folder)
    save_file({"a": torch.zeros(1)}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ArgumentError, match=r"vae has diffusion_pytorch_model\.bin; .* Remove it"):
        load_pipeline(single, config=folder)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tiny.safetensors", {"config": None}, "config: .*holds weights only; give the folder"),
        ("tiny.safetensors", {"config": "someone/else"}, "hf download someone/else"),
        ("tiny.safetensors", {"config": "https://example.org/a"}, "got the URL https://example.org/a"),
        ("tiny.safetensors", {"pipeline": "Mine"}, "pipeline: expected the name of a pipeline .* got 'Mine'"),
        ("tiny.safetensors", {"pipeline": "UNet2DModel"}, "pipeline: expected the name"),
        ("tiny.safetensors", {"pipeline": "DanceDiffusionPipeline"}, "pipeline: expected the name"),
        ("tiny.safetensors", {"variant": "fp16"}, "variant: expected none beside one file, got 'fp16'"),
        ("tiny.safetensors", {"revision": "v1"}, "revision: expected none beside one file"),
        (
            "tiny.safetensors",
            {"quantization": {"quant_backend": "bitsandbytes_8bit", "quant_kwargs": {"a": 1}}},
            "quant",
        ),
        ("model", {}, "config: expected none beside a folder"),
        ("model", {"config": None, "pipeline": "StableDiffusionPipeline"}, "pipeline: expected none beside a folder"),
        ("tiny.ckpt", {}, "folder: .*tiny.ckpt may be a pickle, which can run code"),
        ("tiny.pt", {}, "folder: .*tiny.pt may be a pickle"),
        ("none.safetensors", {}, "folder: expected a local .safetensors file"),
        (
            "https://example.org/a.safetensors",
            {},
            "folder: expected a local .safetensors file, got https://example.org",
        ),
        ("cut.safetensors", {}, "folder: .*cut.safetensors is no .safetensors file .* cut short"),
        ("words.safetensors", {}, "folder: .*words.safetensors is no .safetensors file"),
    ],
)
def test_what_does_not_go_with_one_file_is_refused(
    single: Path, folder: Path, name: str, options: dict[str, Any], message: str
) -> None:
    single.with_name("tiny.ckpt").write_bytes(pickle.dumps({}))
    single.with_name("tiny.pt").write_bytes(pickle.dumps({}))
    single.with_name("cut.safetensors").write_bytes(single.read_bytes()[:1000])
    single.with_name("words.safetensors").write_text("not tensors")
    where = name if "://" in name else single.with_name(name)
    with pytest.raises(ArgumentError, match=message):
        load_pipeline(where, **{"config": folder, **options})
