"""Tiny real pipelines with random weights, built offline in milliseconds: the class is diffusers' own, only small.

Output layers get larger weights than usual, so that outputs depend visibly on the latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

# diffusers' schedulers hand tensors to NumPy 2, whose __array__ and __array_wrap__ do not take its new arguments yet.
NUMPY_2 = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "a", "red", "blue", "car", "cat")
TOKENS = 8
SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddim": lambda: diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
    "euler": lambda: diffusers.EulerDiscreteScheduler(steps_offset=1),
    "dpm": lambda: diffusers.DPMSolverMultistepScheduler(steps_offset=1),
}


def tokenizer(*, punctuation: bool = False) -> PreTrainedTokenizerFast:
    ids = {word: i for i, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace() if punctuation else pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", ids["<bos>"]), ("<eos>", ids["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=TOKENS,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


def clip(kind: type[Any] = CLIPTextModel, width: int = 32, positions: int = TOKENS) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
        projection_dim=32,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        hidden_act="gelu",
    )
    return kind(config)


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4, dropout_rate=0.0)
    )


def vae(channels: int = 4, **options: Any) -> diffusers.AutoencoderKL:
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        **options,
    )


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **options,
    )


def ready(pipe: Any) -> Any:
    """In evaluation mode, with the same weights every time."""
    rng = torch.Generator().manual_seed(0)
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            ready_module(component, rng)
    return pipe


def ready_module(module: Any, rng: torch.Generator | None = None) -> Any:
    """The same of one model."""
    rng = torch.Generator().manual_seed(0) if rng is None else rng
    module.eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.0 / parameter[0].numel() ** 0.5, generator=rng)
            elif parameter.ndim == 1 and parameter.min() != 1:  # a bias, not the weight of a norm
                parameter.zero_()
    return module


def stable_diffusion(scheduler: Any = "dpm", **components: Any) -> Any:
    parts = {
        "vae": vae(),
        "text_encoder": clip(),
        "tokenizer": tokenizer(),
        "unet": unet(cross_attention_dim=32, attention_head_dim=4),
        "scheduler": SCHEDULERS[scheduler]() if isinstance(scheduler, str) else scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return ready(diffusers.StableDiffusionPipeline(**{**parts, **components}))


def stable_diffusion_xl() -> Any:
    network = unet(
        cross_attention_dim=64,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,  # 6 * 8 of sizes, 32 of pooled text
    )
    return ready(
        diffusers.StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=clip(),
            text_encoder_2=clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=network,
            scheduler=diffusers.EulerDiscreteScheduler(),
            add_watermarker=False,
        )
    )


def stable_diffusion_3() -> Any:
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=8,
    )
    return ready(
        diffusers.StableDiffusion3Pipeline(
            transformer=network,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
            text_encoder=clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            text_encoder_2=clip(CLIPTextModelWithProjection),
            tokenizer_2=tokenizer(),
            text_encoder_3=None,
            tokenizer_3=None,
        )
    )


def flux() -> Any:
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return ready(
        diffusers.FluxPipeline(
            transformer=network,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
            text_encoder=clip(),
            tokenizer=tokenizer(),
            text_encoder_2=t5(),
            tokenizer_2=tokenizer(),
        )
    )
