"""The portrait model: a stock `StableDiffusionPipeline` with a small encoder and decoder of its own.

x image in [-1, 1] (n, 3, 64, 64); z latent (n, 4, 16, 16), whose channels have mean 0 and deviation 1 over the training
images: the pipeline knows one scale for all channels only, so mean and deviation are folded into the VAE's own 1x1
convolutions next to the latent (`normalised`), and the scale is 1.
"""

from __future__ import annotations

import torch
from captions import vocabulary
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

LATENT = (4, 16, 16)
TOKENS = 32  # the longest caption has 26 words; both ends come on top
WIDTH = 64  # of the text encoder
BOS, EOS, UNKNOWN = "<bos>", "<eos>", "<unk>"


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; commas and capitals are dropped, unknown words become `<unk>`."""
    words = {word: i for i, word in enumerate([BOS, EOS, UNKNOWN, *vocabulary()])}
    backend = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(",", " ")])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(BOS, words[BOS]), (EOS, words[EOS])]
    backend.post_processor = processors.TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=TOKENS,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=EOS,
    )


def text_encoder(words: int) -> CLIPTextModel:
    """A two-layer CLIP text model, trained together with the network."""
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def network() -> UNet2DConditionModel:
    """The velocity network n - z, cross-attention at 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def autoencoder() -> AutoencoderKL:
    """Encoder and decoder, 0.8 M parameters. Convolutions only, and few channels where there are many pixels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT[0],
        sample_size=64,
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


@torch.no_grad()
def normalised(vae: AutoencoderKL, z: Tensor) -> AutoencoderKL:
    """`vae`, changed in place so that the latents z (n, 4, h, w) of its encoder get mean 0 and deviation 1 a channel.

    What the decoder makes of an image's latent stays the same.
    """
    mean, deviation = z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3))
    into, out = vae.quant_conv, vae.post_quant_conv
    k = len(mean)  # the first k outputs are the means of z, the others the logarithms of its variances
    into.weight[:k] /= deviation.view(-1, 1, 1, 1)
    into.bias[:k] = (into.bias[:k] - mean) / deviation
    into.bias[k:] -= 2 * deviation.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= deviation.view(1, -1, 1, 1)
    return vae


def pipeline(
    vae: AutoencoderKL, unet: UNet2DConditionModel, text: CLIPTextModel, words: PreTrainedTokenizerFast
) -> StableDiffusionPipeline:
    """The stock pipeline; its first-order solver on flow sigmas is rectified-flow Euler."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        solver_order=1,
        steps_offset=1,  # has no effect on flow sigmas, but the pipeline warns of any other value
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
