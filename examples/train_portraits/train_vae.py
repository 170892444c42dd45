"""Train the encoder and decoder of the portrait model.

    python train_vae.py --raw RAW --out RUN [--steps 1200]      (one thread; resumes by itself)

x images, q(z|x) = N(m, exp(v)) the encoder's answer, y the decoder's of a draw of it:
loss = mean (y - x)^2 + 0.1 mean |y - x| + 1e-3 KL(q || N(0, I)) / D. With that weight the latents keep a noise of about
a tenth of their deviation, which the decoder learns to bear, so that small errors of the flow do no harm.
At the end RUN/vae has the averaged weights as a diffusers folder, normalised, and RUN/vae.jsonl the PSNR in decibels on
held-out images at every checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from dataset import held_out, read_raw
from diffusers import AutoencoderKL
from model import autoencoder, normalised
from optimiser import averaged, rate, saved, started, update
from torch import Tensor

BATCH, PEAK, WARM_UP, DECAY = 4, 2e-2, 50, 0.995
LAYOUT = torch.channels_last  # a tenth faster than the other on a CPU with AVX2


def scaled(images: np.ndarray) -> Tensor:
    """uint8 images (n, 64, 64, 3) -> x in [-1, 1], float32 (n, 3, 64, 64)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=LAYOUT)


def loss(vae: AutoencoderKL, x: Tensor, rng: torch.Generator) -> Tensor:
    """The loss above of one batch."""
    q = vae.encode(x).latent_dist
    y = vae.decode(q.sample(rng)).sample
    return (y - x).square().mean() + 0.1 * (y - x).abs().mean() + 1e-3 * q.kl().mean() / q.mean[0].numel()


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of uint8 images, from their mean squared error over all of them."""
    error = np.square(images.astype(np.float64) - others).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


@torch.no_grad()
def reconstructed(vae: AutoencoderKL, images: np.ndarray, *, batch: int = 32) -> np.ndarray:
    """What the decoder makes of the encoder's mean, uint8 like `images`."""
    out = []
    for start in range(0, len(images), batch):
        z = vae.encode(scaled(images[start : start + batch])).latent_dist.mean
        out.append(((vae.decode(z).sample.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(out).numpy()


@torch.no_grad()
def encoded(vae: AutoencoderKL, images: np.ndarray, *, batch: int = 32) -> Tensor:
    """The encoder's means, float32 (n, 3, 16, 16)."""
    parts = [vae.encode(scaled(images[i : i + batch])).latent_dist.mean for i in range(0, len(images), batch)]
    return torch.cat(parts).contiguous()


def average_of(checkpoint: Path) -> AutoencoderKL:
    """The autoencoder with a checkpoint's averaged weights."""
    vae = autoencoder().to(memory_format=LAYOUT)
    vae.load_state_dict(averaged(checkpoint))
    return vae.eval()


def train(raw: Path, run: Path, steps: int, every: int) -> None:
    """Train until `steps`, then write RUN/vae."""
    torch.manual_seed(0)
    vae = autoencoder().to(memory_format=LAYOUT)
    checkpoint = run / "vae.safetensors"
    state = started(vae, checkpoint)
    images, _ = read_raw(raw)
    test = held_out()[0][:64]
    clock, losses = time.time(), []
    for step in range(state.step, steps):
        rows = np.random.default_rng([0, step]).integers(len(images), size=BATCH)
        value = loss(vae, scaled(images[rows]), torch.Generator().manual_seed(step))
        update(state, value, rate=rate(step, steps, peak=PEAK, warm_up=WARM_UP), decay=DECAY)
        losses.append(value.item())
        if state.step % every == 0 or state.step == steps:
            saved(state, checkpoint)
            record = {"step": state.step, "loss": float(np.mean(losses))}
            record["psnr"] = psnr(test, reconstructed(average_of(checkpoint), test))
            record["seconds_a_step"] = (time.time() - clock) / len(losses)
            with (run / "vae.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
            clock, losses = time.time(), []
    trained = average_of(checkpoint)
    normalised(trained, encoded(trained, images[:2048])).save_pretrained(run / "vae", safe_serialization=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="stem of the rendered training images (without .rgb)")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and result")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train(options.raw, options.out, options.steps, options.every)
