"""Every part that makes a generator this generator changes the fingerprint, under its own name; nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from surrogate_ax_diffusers.fingerprint import SAMPLES, call_text, weights_digest
from tests.integrations.diffusers import tiny, tiny_families

pytestmark = tiny.NUMPY_2


def fingerprint(pipe: Any = None, **options: Any) -> dict[str, str]:
    pipe = tiny.stable_diffusion() if pipe is None else pipe
    return dict(pipeline_generator(pipe, **{"prompt": "a cat", **options}).fingerprint)


def changed(a: dict[str, str], b: dict[str, str]) -> set[str]:
    """The parts that differ, but for the probe, which moves with each of them."""
    return {name for name in a | b if a.get(name) != b.get(name)} - {"probe"}


def one_weight_of(component: str) -> Callable[[Any], None]:
    def change(pipe: Any) -> None:
        with torch.no_grad():
            next(getattr(pipe, component).parameters()).add_(1e-3)

    return change


def other_guidance_embedding(pipe: Any) -> None:
    pipe.unet.register_to_config(center_input_sample=True)


def other_scheduler(pipe: Any) -> None:
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler(steps_offset=1, solver_order=1)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (one_weight_of("unet"), "weights"),
        (one_weight_of("text_encoder"), "weights"),
        (one_weight_of("vae"), "weights"),
        (other_guidance_embedding, "component.unet"),
        (other_scheduler, "component.scheduler"),
        (lambda pipe: pipe.tokenizer.add_tokens(["lorry"]), "component.tokenizer"),
    ],
)
def test_a_changed_component_is_named(change: Callable[[Any], Any], part: str) -> None:
    pipe = tiny.stable_diffusion()
    change(pipe)
    assert changed(fingerprint(), fingerprint(pipe)) == {part}


def test_call_prior_class_and_precision_are_named() -> None:
    before = fingerprint()
    assert changed(before, fingerprint(prompt="a car")) == {"call"}
    assert changed(before, fingerprint(height=32, width=32)) == {"call", "prior"}
    half = changed(before, fingerprint(tiny.stable_diffusion().to(torch.bfloat16)))
    assert half == {"weights", "component.unet", "component.vae", "component.text_encoder"}
    other = diffusers.StableDiffusionPAGPipeline(**tiny.stable_diffusion().components, requires_safety_checker=False)
    assert changed(before, fingerprint(other)) == {"pipeline"}


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    pipe = tiny.stable_diffusion()
    pipe.save_pretrained(tmp_path, safe_serialization=True)
    assert changed(fingerprint(pipe), fingerprint(load_pipeline(tmp_path))) == set()


def test_a_revision_stands_in_for_the_weights() -> None:
    pipe = tiny.stable_diffusion()
    before = fingerprint(pipe, revision="v1")
    assert before["revision"] == "v1"
    assert "weights" not in before
    one_weight_of("unet")(pipe)
    assert changed(before, fingerprint(pipe, revision="v1")) == set()
    assert changed(before, fingerprint(pipe, revision="v2")) == {"revision"}


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "WanPipeline"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_offloaded_weights_are_read_from_their_files(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    tiny_families.CALLS[name][0]().save_pretrained(tmp_path, safe_serialization=True)
    pipe = load_pipeline(tmp_path, dtype=dtype)
    before = weights_digest(pipe)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.to("meta")
    assert weights_digest(pipe) == before
    file = next((tmp_path / ("unet" if "Stable" in name else "transformer")).glob("*.safetensors"))
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, file)
    assert weights_digest(pipe) != before


def test_offloaded_weights_without_files_need_a_revision() -> None:
    pipe = tiny.stable_diffusion()
    made = pipeline_generator(pipe)
    pipe.unet.to("meta")
    with pytest.raises(UnsupportedError, match=r"pipe\.unet: .* meta device .* pipeline_generator\(revision"):
        _ = made.fingerprint


def test_the_memory_layout_of_weights_does_not_matter() -> None:
    pipe = tiny.stable_diffusion()
    before = weights_digest(pipe)
    pipe.unet.to(memory_format=torch.channels_last)
    assert weights_digest(pipe) == before


def test_weights_are_sampled_all_over_and_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny.stable_diffusion()
    before = weights_digest(pipe)
    weight = pipe.unet.mid_block.resnets[0].conv1.weight.data.reshape(-1)
    step = -(-weight.numel() // SAMPLES)
    assert step > 1
    for at in (0, step, weight.numel() // step * step - step):  # sampled positions at both ends
        weight[at] += 1
        assert weights_digest(pipe) != before
        weight[at] -= 1
    made = pipeline_generator(pipe)
    first = made.fingerprint
    monkeypatch.setattr("surrogate_ax_diffusers.pipeline.weights_digest", lambda _: pytest.fail("digested again"))
    assert made.fingerprint == first


def test_call_arguments_without_a_json_form_are_known_by_content() -> None:
    red, blue = (PIL.Image.new("RGB", (2, 2), colour) for colour in ("red", "blue"))
    for a, b in ((red, blue), (torch.zeros(3), torch.ones(3)), (torch.float16, torch.float32)):
        assert call_text({"x": a}) == call_text({"x": a})
        assert call_text({"x": a}) != call_text({"x": b})
    assert call_text({"x": red.copy()}) == call_text({"x": red})
    assert call_text({"x": object()}) == call_text({"x": object()})  # no address in it
    assert call_text({"b": 1, "a": [2]}) == '{"a": [2], "b": 1}'
