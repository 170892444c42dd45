"""Stable Diffusion's weights in one file, under the names of the program that it was first trained by.

The inverse of what `from_single_file` does, for pipelines whose U-Net has `layers_per_block` of 1 and whose VAE has the
default of diffusers, 1; written from the names of the two programs, not from diffusers' conversion.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_single_file(pipe: Any, path: Path) -> None:
    """Write the U-Net, VAE and text encoder of a pipeline as one file."""
    state = {f"model.diffusion_model.{_unet_name(name)}": tensor for name, tensor in pipe.unet.state_dict().items()}
    blocks = len(pipe.vae.config.block_out_channels)
    for name, tensor in pipe.vae.state_dict().items():
        named = f"first_stage_model.{_vae_name(name, blocks)}"
        attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", named)
        state[named] = tensor[:, :, None, None] if attention else tensor  # there a convolution
    for name, tensor in pipe.text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def _unet_name(name: str) -> str:
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            return _resnet(name.replace(ours, theirs, 1))
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    if found is None:
        raise ValueError(name)
    side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{2 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        return _resnet(f"input_blocks.{1 + 2 * block + layer}.{int(kind == 'attentions')}.{rest}")
    if kind == "upsamplers":  # of the first block, which has attention
        return f"output_blocks.{2 * block + 1}.2.{rest}"
    return _resnet(f"output_blocks.{2 * block + layer}.{int(kind == 'attentions')}.{rest}")


def _resnet(name: str) -> str:
    for ours, theirs in RESNET.items():
        name = re.sub(
            rf"^((?:input_blocks|output_blocks)\.\d+\.0|middle_block\.[02])\.{ours}\.", rf"\1.{theirs}.", name
        )
    return name


def _vae_name(name: str, blocks: int) -> str:
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    up = re.search(r"up_blocks\.(\d+)", name)
    if up:
        at = blocks - 1 - int(up[1])
        name = re.sub(r"up_blocks\.\d+\.resnets\.(\d+)", rf"up.{at}.block.\1", name)
        name = re.sub(r"up_blocks\.\d+\.upsamplers\.0", f"up.{at}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def tensors(pipe: Any) -> dict[str, Tensor]:
    """Every weight of a pipeline, by component and name."""
    parts = ("unet", "vae", "text_encoder")
    return {f"{part}.{name}": tensor for part in parts for name, tensor in getattr(pipe, part).state_dict().items()}
