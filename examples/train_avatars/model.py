"""The avatar model: a stock `StableDiffusionPipeline` whose VAE is an exact pixel map.

x image in [-1, 1] (n, 3, 16, 16); z latent of the same shape. `AutoencoderTiny`'s decoder first takes 3 tanh(z / 3);
with identity convolutions kept positive by a bias of 4 (so that its ReLUs do nothing) the rest is the identity, hence
x = 3 tanh(z / 3) and z = 3 atanh(x / 3), exact to float32 rounding.
"""

from __future__ import annotations

import torch
from captions import vocabulary
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

TOKENS = 24  # eight phrases of at most three words, and both ends
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
    """The velocity network n - z, 2.7 M parameters, cross-attention at 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def pixel_vae() -> AutoencoderTiny:
    """The exact pixel map described above. Its encoder is zero: encode by `3 atanh(x / 3)`."""
    vae = AutoencoderTiny(
        latent_channels=3,
        encoder_block_out_channels=(3,),
        decoder_block_out_channels=(3,),
        num_encoder_blocks=(1,),
        num_decoder_blocks=(1,),
        scaling_factor=1.0,
        shift_factor=0.0,
    )
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        first, last = vae.decoder.layers[0], vae.decoder.layers[-1]
        for k in range(3):
            first.weight[k, k, 1, 1], first.bias[k] = 1.0, 4.0
            last.weight[k, k, 1, 1], last.bias[k] = 0.5, -1.5
    return vae


def pipeline(
    unet: UNet2DConditionModel, text: CLIPTextModel, words: PreTrainedTokenizerFast
) -> StableDiffusionPipeline:
    """The stock pipeline; its first-order solver on flow sigmas is rectified-flow Euler."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        solver_order=1,
        steps_offset=1,  # has no effect on flow sigmas, but the pipeline warns of any other value
    )
    return StableDiffusionPipeline(
        vae=pixel_vae(),
        text_encoder=text,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
