"""Whatever acts beside weights and configurations changes the fingerprint under its own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from diffusers import hooks

from surrogate_ax.generation.identity import compare
from surrogate_ax_diffusers import pipeline_generator
from surrogate_ax_diffusers.fingerprint import component_parts
from surrogate_ax_diffusers.pipeline_state import state_parts, stateful_hooks
from tests.integrations.diffusers import tiny, tiny_families
from tests.integrations.diffusers.tiny_families import CALLS

pytestmark = tiny_families.QUIET
NOTHING = {"adapters", "caches", "hooks", "quantisation", "settings.layers"}


class LowRank(torch.nn.Module):
    """A layer as PEFT puts it around another: its names for scales and for what is active, and its sum."""

    def __init__(self, layer: torch.nn.Linear, scale: float) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.base_layer, self.scaling, self.active_adapters = layer, {"style": scale}, ["style"]
        self.disable_adapters, self.merged_adapters = False, list[str]()
        self.change = torch.nn.Parameter(torch.randn(layer.weight.shape, generator=rng))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base_layer(x)
        return y if self.disable_adapters else y + self.scaling["style"] * x @ self.change.T


def adapted(scale: float = 1.0, pipe: Any = None) -> Any:
    pipe = tiny.stable_diffusion() if pipe is None else pipe
    denoiser = pipe.components.get("unet") or pipe.transformer
    path = next(
        name for name, layer in denoiser.named_modules() if isinstance(layer, torch.nn.Linear) and "att" in name
    )
    denoiser.set_submodule(path, LowRank(denoiser.get_submodule(path), scale))
    return pipe


def with_change(change: Callable[[Any], Any], make: Callable[[], Any] = tiny.stable_diffusion) -> Callable[[], Any]:
    def made() -> Any:
        pipe = make()
        change(pipe)
        return pipe

    return made


def layer_of(pipe: Any) -> LowRank:
    return next(layer for layer in pipe.unet.modules() if isinstance(layer, LowRank))


def disabled() -> Any:
    pipe = adapted()
    layer_of(pipe).disable_adapters = True
    return pipe


def dim(module: Any, args: Any, output: Any) -> Any:
    return (output[0] * 0.9, *output[1:]) if isinstance(output, tuple) else output * 0.9


def replaced_forward(pipe: Any) -> None:
    forward = pipe.unet.forward
    pipe.unet.forward = lambda *args, **kwargs: dim(None, args, forward(*args, **kwargs))


class OwnProcessor(diffusers.models.attention_processor.AttnProcessor2_0):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs) * self.scale


def first_block_cache(pipe: Any) -> None:
    hooks.apply_first_block_cache(pipe.transformer, hooks.FirstBlockCacheConfig(threshold=0.2))


def taylor_seer(pipe: Any) -> None:
    denoiser = pipe.components.get("unet") or pipe.transformer
    config = hooks.TaylorSeerCacheConfig(
        cache_interval=2, disable_cache_before_step=1, cache_identifiers=[r".*(attn1?|attention|self_attn)$"]
    )
    hooks.apply_taylorseer_cache(denoiser, config)


def quantised(pipe: Any) -> None:
    class QuantisedLinear(torch.nn.Linear):
        pass

    QuantisedLinear.__module__ = "bitsandbytes.nn"
    path = next(name for name, layer in pipe.unet.named_modules() if type(layer) is torch.nn.Linear)
    pipe.unet.get_submodule(path).__class__ = QuantisedLinear


def fingerprint(pipe: Any, **call: Any) -> dict[str, str]:
    settings = {"prompt": "a cat", "num_inference_steps": 3, "output_type": "np", "check_determinism": False}
    return dict(pipeline_generator(pipe, **{**settings, **call}).fingerprint)


CHANGES = {
    "scale of an adapter": (adapted, lambda: adapted(0.3), "adapters", "unet style 0.3 (unet."),
    "disabled adapter": (adapted, disabled, "adapters", "unet style 1.0 disabled (unet."),
    "FreeU": (
        tiny.stable_diffusion,
        with_change(lambda pipe: pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.4, b2=1.6)),
        "settings.layers",
        "unet s1=0.9 s2=0.2 b1=1.4 b2=1.6 (2 layers",
    ),
    "tiles": (
        tiny.stable_diffusion,
        with_change(lambda pipe: pipe.vae.enable_tiling()),
        "settings.layers",
        "vae use_tiling=True tile_latent_min_size=",
    ),
    "shift": (
        tiny.stable_diffusion_3,
        with_change(lambda pipe: pipe.scheduler.set_shift(6.0), tiny.stable_diffusion_3),
        "settings.scheduler",
        "_shift=6.0",
    ),
    "hook": (
        tiny.stable_diffusion,
        with_change(lambda pipe: pipe.unet.register_forward_hook(dim)),
        "hooks",
        "hook dim (unet)",
    ),
    "forward": (tiny.stable_diffusion, with_change(replaced_forward), "hooks", "forward replaced_forward.<locals>"),
    "processor": (
        with_change(lambda pipe: pipe.unet.set_attn_processor(OwnProcessor(1.0))),
        with_change(lambda pipe: pipe.unet.set_attn_processor(OwnProcessor(0.5))),
        "hooks",
        "processor OwnProcessor scale=0.5 (",
    ),
    "cache": (
        tiny_families.CALLS["FluxPipeline"][0],
        with_change(first_block_cache, tiny_families.CALLS["FluxPipeline"][0]),
        "caches",
        "FBCHeadBlock threshold=0.2 (transformer.transformer_blocks.0)",
    ),
    "quantisation": (tiny.stable_diffusion, with_change(quantised), "quantisation", "QuantisedLinear (unet."),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_acts_is_named(name: str) -> None:
    before, after, part, shown = CHANGES[name]
    a, b = state_parts(before()), state_parts(after())
    assert compare(a, b) == ([part], [])
    assert shown in b[part]


@pytest.mark.parametrize("name", ["scale of an adapter", "FreeU", "shift"])
def test_a_fingerprint_differs_by_the_part_and_the_probe(name: str) -> None:
    before, after, part, _ = CHANGES[name]
    small = {"height": 16, "width": 16} if name == "shift" else {}
    a, b = fingerprint(before(), **small), fingerprint(after(), **small)
    assert compare(a, b) == ([part], [])
    assert compare({"probe": a["probe"]}, {"probe": b["probe"]}) == (["probe"], [])


@pytest.mark.parametrize("name", CALLS)
def test_every_family_tells_adapters_schedulers_caches_and_precision(name: str) -> None:
    """In pipelines of every kind, without a run: nothing acts at first, and each change has its part."""
    pipe = CALLS[name][0]()

    def parts() -> dict[str, str]:
        return {**component_parts(pipe), **state_parts(pipe)}

    first = parts()
    assert {part for part in first if first[part] == "none"} >= NOTHING | {"settings.scheduler"}
    adapted(pipe=pipe)
    one = parts()
    assert compare(first, one) == (["adapters"], [])
    for layer in pipe.components.get("unet", getattr(pipe, "transformer", None)).modules():
        if isinstance(layer, LowRank):
            layer.scaling["style"] = 0.3
    less = parts()
    assert compare(one, less) == (["adapters"], [])
    pipe.scheduler.order_of_mine = 2.5
    scheduled = parts()
    assert compare(less, scheduled) == (["settings.scheduler"], [])
    taylor_seer(pipe)
    cached = parts()
    assert compare(scheduled, cached) == (["caches"], [])
    assert "TaylorSeerCache cache_interval=2" in cached["caches"]
    assert stateful_hooks(pipe)
    pipe.to(torch.bfloat16)
    assert set(compare(cached, parts())[0]) >= {"component.vae"}


def test_what_a_call_leaves_behind_does_not_count() -> None:
    for name in ("StableDiffusionXLPipeline", "HunyuanVideoPipeline", "StableAudioPipeline"):
        pipe = CALLS[name][0]()
        before = state_parts(pipe)
        pipe.set_progress_bar_config(disable=True)
        pipe(**tiny_families.generator_call(name))
        assert state_parts(pipe) == before


def test_removed_hooks_and_offloading_do_not_count() -> None:
    pipe = tiny_families.CALLS["FluxPipeline"][0]()
    before = state_parts(pipe)
    pipe.transformer.enable_cache(hooks.FirstBlockCacheConfig(threshold=0.2))
    assert state_parts(pipe)["caches"].startswith("FBCBlock")
    pipe.transformer.disable_cache()
    assert state_parts(pipe) == before


def test_a_change_after_the_generator_was_made_is_seen() -> None:
    pipe = adapted()
    made = pipeline_generator(pipe, prompt="a cat", num_inference_steps=2, check_determinism=False)
    before = dict(made.fingerprint)
    layer_of(pipe).scaling["style"] = 0.3
    assert compare(before, made.fingerprint) == (["adapters"], [])


def test_the_probe_sees_what_nothing_names() -> None:
    pipe = tiny.stable_diffusion()
    before = fingerprint(pipe)
    pipe.unet.conv_out.padding_mode = "circular"
    pipe.unet.conv_out._reversed_padding_repeated_twice = [1, 1, 1, 1]
    assert compare(before, fingerprint(pipe)) == (["probe"], [])
    pipe.unet.conv_out.padding_mode = "zeros"
    assert fingerprint(pipe) == before


def test_a_probe_that_fails_is_said_and_the_random_numbers_are_the_users() -> None:
    pipe = tiny.stable_diffusion()
    made = pipeline_generator(pipe, prompt="a cat", num_inference_steps=2, check_determinism=False)
    state = torch.random.get_rng_state()
    pipe.unet.register_forward_hook(lambda *_: torch.rand(1))
    assert made.fingerprint["probe"].startswith("failed: ")
    assert torch.equal(torch.random.get_rng_state(), state)
