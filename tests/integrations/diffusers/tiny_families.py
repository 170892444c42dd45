"""Tiny pipelines of further kinds: large image models, video and audio; see `tiny` for how they are made.

`CALLS` has, by the name of the class, a builder and the call arguments under which it runs in milliseconds.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
import transformers

from tests.integrations.diffusers import tiny

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_CHAT = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %} "
    "{% endfor %}"
)
Make = Callable[[], Any]
QUIET = [
    tiny.NUMPY_2,
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"),
]


def chat_tokenizer() -> Any:
    """Words; the last message of a chat is never cut off."""
    made = tiny.tokenizer()
    made.chat_template = _CHAT
    made.truncation_side = "left"
    made.padding_side = "left"
    return made


def roberta_tokenizer() -> Any:
    vocab = {piece: i for i, piece in enumerate([*_SPECIAL, "Ġ", *string.ascii_lowercase])}
    return transformers.RobertaTokenizer(vocab=vocab, merges=[], model_max_length=24)


def t5_tokenizer() -> Any:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    vocab = [(piece, -2.0 if i > 2 else 0.0) for i, piece in enumerate(pieces)]
    return transformers.T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=24)


def t5(vocabulary: int = len(tiny.WORDS), kind: str = "T5") -> Any:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4, dropout_rate=0.0
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def qwen3(width: int) -> Any:
    config = transformers.Qwen3Config(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=len(tiny.WORDS),
        max_position_embeddings=512,
    )
    return transformers.Qwen3Model(config)


def flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def flux_2() -> Any:
    text = {
        "model_type": "mistral",
        "vocab_size": len(tiny.WORDS),
        "hidden_size": 16,
        "intermediate_size": 37,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "image_size": 30,
        "patch_size": 6,
    }
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=1)
    network = diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=[4, 4, 4, 4],
    )
    autoencoder = diffusers.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return tiny.ready(
        diffusers.Flux2Pipeline(
            scheduler=flow(),
            text_encoder=transformers.Mistral3ForConditionalGeneration(config),
            tokenizer=chat_tokenizer(),
            transformer=network,
            vae=autoencoder,
        )
    )


def z_image() -> Any:
    network = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    autoencoder = tiny.vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1)
    parts = {"scheduler": flow(), "vae": autoencoder, "text_encoder": qwen3(16), "tokenizer": chat_tokenizer()}
    return tiny.ready(diffusers.ZImagePipeline(**parts, transformer=network))


def qwen_image() -> Any:
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        "vocab_size": len(tiny.WORDS),
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    network = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    autoencoder = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    words = tiny.tokenizer(punctuation=True)  # the pipeline cuts the first 34 tokens of its template off
    words.padding_side = "right"
    words.model_max_length = 512
    return tiny.ready(
        diffusers.QwenImagePipeline(
            scheduler=flow(),
            vae=autoencoder,
            text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config),
            tokenizer=words,
            transformer=network,
        )
    )


def calm(pipe: Any) -> Any:
    """A decoder whose outputs are small, so that images are not all black and white and rounding stays small."""
    with torch.no_grad():
        getattr(pipe.vae.decoder.conv_out, "conv", pipe.vae.decoder.conv_out).weight.mul_(0.1)
    return pipe


def hunyuan_video() -> Any:
    llama = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(tiny.WORDS),
        pad_token_id=0,
    )
    network = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    autoencoder = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(4,) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    return calm(
        tiny.ready(
            diffusers.HunyuanVideoPipeline(
                text_encoder=transformers.LlamaModel(llama),
                tokenizer=tiny.tokenizer(),
                transformer=network,
                vae=autoencoder,
                scheduler=flow(shift=7.0),
                text_encoder_2=tiny.clip(width=8, positions=77),
                tokenizer_2=tiny.tokenizer(),
            )
        )
    )


def wan() -> Any:
    network = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=1,
        rope_max_seq_len=32,
    )
    autoencoder = diffusers.AutoencoderKLWan(
        base_dim=3,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    parts = {"tokenizer": tiny.tokenizer(), "text_encoder": t5(kind="UMT5"), "vae": autoencoder}
    return calm(tiny.ready(diffusers.WanPipeline(**parts, scheduler=flow(shift=7.0), transformer=network)))


def ltx() -> Any:
    network = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    autoencoder = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
    )
    parts = {"tokenizer": tiny.tokenizer(), "text_encoder": t5(), "vae": autoencoder, "scheduler": flow()}
    return calm(tiny.ready(diffusers.LTXPipeline(**parts, transformer=network)))


def oobleck(channels: int) -> Any:
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=2 * channels,
        downsampling_ratios=[1, 2],
        decoder_channels=3,
        decoder_input_channels=channels,
        audio_channels=2,
        channel_multiples=[2, 4],
        sampling_rate=4,
    )


def stable_audio() -> Any:
    network = diffusers.StableAudioDiTModel(
        sample_size=8,
        in_channels=3,
        num_layers=2,
        attention_head_dim=4,
        num_key_value_attention_heads=2,
        out_channels=3,
        cross_attention_dim=4,
        time_proj_dim=8,
        global_states_input_dim=8,
        cross_attention_input_dim=4,
    )
    projection = diffusers.StableAudioProjectionModel(
        text_encoder_dim=32, conditioning_dim=4, min_value=0, max_value=32
    )
    pipe = tiny.ready(
        diffusers.StableAudioPipeline(
            vae=oobleck(3),
            text_encoder=t5(30),
            projection_model=projection,
            tokenizer=t5_tokenizer(),
            transformer=network,
            scheduler=diffusers.EDMDPMSolverMultistepScheduler(prediction_type="v_prediction", sigma_data=1.0),
        )
    )
    return tame(pipe)


def audio_ldm_2() -> Any:
    text = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "vocab_size": 40,
        "pad_token_id": 1,
        "projection_dim": 8,
    }
    audio = {
        "spec_size": 8,
        "window_size": 4,
        "num_mel_bins": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "num_hidden_layers": 1,
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "projection_dim": 8,
        "patch_size": 2,
        "patch_stride": 2,
        "patch_embed_input_channels": 4,
    }
    clap = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)
    gpt = transformers.GPT2Config(n_embd=16, n_head=1, n_layer=1, vocab_size=40, n_ctx=99, n_positions=99)
    language_model = transformers.GPT2LMHeadModel(gpt)
    language_model.config.max_new_tokens = 2
    network = diffusers.AudioLDM2UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(8, 16),
    )
    vocoder = transformers.SpeechT5HifiGanConfig(
        model_in_dim=8,
        sampling_rate=16000,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        normalize_before=False,
    )
    return tiny.ready(
        diffusers.AudioLDM2Pipeline(
            vae=tiny.vae(in_channels=1, out_channels=1),
            text_encoder=transformers.ClapModel(clap),
            text_encoder_2=t5(30),
            projection_model=diffusers.AudioLDM2ProjectionModel(
                text_encoder_dim=16, text_encoder_1_dim=32, langauge_model_dim=16
            ),
            language_model=language_model,
            tokenizer=roberta_tokenizer(),
            tokenizer_2=t5_tokenizer(),
            feature_extractor=transformers.ClapFeatureExtractor(feature_size=8, sampling_rate=16000),
            unet=network,
            scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            vocoder=transformers.SpeechT5HifiGan(vocoder),
        )
    )


def ace_step() -> Any:
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_theta": 10000.0,
        "sliding_window": 16,
    }
    network = diffusers.AceStepTransformer1DModel(
        **shape, num_hidden_layers=2, in_channels=24, audio_acoustic_hidden_dim=8, patch_size=2
    )
    from diffusers.pipelines.ace_step.modeling_ace_step import AceStepConditionEncoder

    encoder = AceStepConditionEncoder(
        **shape,
        text_hidden_dim=32,
        timbre_hidden_dim=8,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
    )
    pipe = tiny.ready(
        diffusers.AceStepPipeline(
            vae=oobleck(8),
            text_encoder=qwen3(32),
            tokenizer=tiny.tokenizer(),
            transformer=network,
            condition_encoder=encoder,
            scheduler=flow(num_train_timesteps=1, shift=1.0),
        )
    )
    with torch.no_grad():
        pipe.transformer.proj_out_conv.weight.mul_(0.1)  # which guidance multiplies by 7
    return tame(pipe)


def tame(pipe: Any) -> Any:
    """A decoder in whose waves float32's rounding does not grow a thousandfold, and whose sounds are within [-1, 1]."""
    for name, parameter in pipe.vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        pipe.vae.decoder.conv1.weight_g.mul_(0.3)
        pipe.vae.decoder.conv2.weight_g.mul_(0.02)
    return pipe


_SMALL = {"height": 16, "width": 16, "max_sequence_length": 8}
_VIDEO = {**_SMALL, "num_frames": 5}
CALLS: dict[str, tuple[Make, dict[str, Any]]] = {
    "StableDiffusionPipeline": (tiny.stable_diffusion, {}),
    "StableDiffusionXLPipeline": (tiny.stable_diffusion_xl, {}),
    "StableDiffusion3Pipeline": (tiny.stable_diffusion_3, _SMALL),
    "FluxPipeline": (tiny.flux, _SMALL),
    "Flux2Pipeline": (flux_2, {**_SMALL, "text_encoder_out_layers": (1,)}),
    "ZImagePipeline": (z_image, _SMALL),
    "QwenImagePipeline": (qwen_image, _SMALL),
    "HunyuanVideoPipeline": (hunyuan_video, {**_VIDEO, "prompt_template": {"template": "{}", "crop_start": 0}}),
    "WanPipeline": (wan, {**_VIDEO, "guidance_scale": 2.0}),
    "LTXPipeline": (ltx, {**_VIDEO, "height": 32, "width": 32, "num_frames": 9}),
    "StableAudioPipeline": (stable_audio, {"guidance_scale": 2.0}),
    "AudioLDM2Pipeline": (audio_ldm_2, {}),
    "AceStepPipeline": (ace_step, {"audio_duration": 4.0}),
}


def generator_call(name: str, **call: Any) -> dict[str, Any]:
    """Call arguments of a family's tiny pipeline: two steps, outputs as arrays."""
    return {"prompt": "a cat", "num_inference_steps": 2, "output_type": "np", **CALLS[name][1], **call}


def pixart_sigma() -> Any:
    """A class that no row of the table names."""
    network = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        use_additional_conditions=False,
        norm_type="ada_norm_single",
    )
    scheduler = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    parts = {"tokenizer": tiny.tokenizer(), "text_encoder": t5(), "vae": tiny.vae(), "scheduler": scheduler}
    return tiny.ready(diffusers.PixArtSigmaPipeline(**parts, transformer=network))
