"""Train the encoder and decoder of the portrait model.

    python train_vae.py --raw RAW --out RUN [--steps 1500]                            (one thread)
    python train_vae.py --raw RAW --out RUN --device cuda --steps 12000 --batch 64    (resumes by itself, as the other)

x images, q(z|x) = N(m, exp(v)) the encoder's answer, y the decoder's of a draw of it:
loss = mean (y - x)^2 + 0.1 mean |y - x| + 3e-4 KL(q || N(0, I)) / D. That weight decides how much noise the latents
keep, which the decoder learns to bear, so that small errors of the flow do no harm, and with it what an image loses: at
1e-3 one of four channels stays unused.
At the end RUN/vae has the averaged weights as a diffusers folder, normalised, and RUN/vae.jsonl the PSNR in decibels on
held-out images at every checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import held_out, read_raw
from diffusers import AutoencoderKL
from model import autoencoder, normalised
from optimiser import Log, Updates, averaged, rate, saved, set_up, started, update
from torch import Tensor

BATCH, PEAK, WARM_UP, DECAY, KL = 4, 2e-2, 50, 0.995, 3e-4
LAYOUT = torch.channels_last  # a tenth faster than the other on a CPU with AVX2


def scaled(images: Tensor) -> Tensor:
    """uint8 images (n, 64, 64, 3) -> x in [-1, 1], float32 (n, 3, 64, 64)."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=LAYOUT)


def loss(vae: AutoencoderKL, x: Tensor, rng: torch.Generator) -> Tensor:
    """The loss above of one batch."""
    q = vae.encode(x).latent_dist
    y = vae.decode(q.sample(rng)).sample
    return (y - x).square().mean() + 0.1 * (y - x).abs().mean() + KL * q.kl().mean() / q.mean[0].numel()


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of uint8 images, from their mean squared error over all of them."""
    error = np.square(images.astype(np.float64) - others).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


@torch.no_grad()
def reconstructed(vae: AutoencoderKL, images: np.ndarray, *, batch: int = 32) -> np.ndarray:
    """What the decoder makes of the encoder's mean, uint8 like `images`."""
    z = encoded(vae, images, batch=batch).to(vae.device)
    y = torch.cat([vae.decode(part).sample for part in z.split(batch)])
    return ((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def encoded(vae: AutoencoderKL, images: np.ndarray, *, batch: int = 32) -> Tensor:
    """The encoder's means, float32 (n, 4, 16, 16), on the CPU."""
    parts = torch.from_numpy(images).split(batch)
    return torch.cat([vae.encode(scaled(part.to(vae.device))).latent_dist.mean.cpu() for part in parts]).contiguous()


def average_of(checkpoint: Path) -> AutoencoderKL:
    """The autoencoder with a checkpoint's averaged weights."""
    vae = autoencoder().to(memory_format=LAYOUT)
    vae.load_state_dict(averaged(checkpoint))
    return vae.eval()


def train(raw: Path, run: Path, device: str, *, steps: int, batch: int, every: int) -> None:
    """Train until `steps`, then write RUN/vae."""
    torch.manual_seed(0)
    vae = autoencoder().to(device, memory_format=LAYOUT)
    checkpoint = run / "vae.safetensors"
    state = started(vae, checkpoint)
    images = read_raw(raw)[0]
    data, rng = torch.from_numpy(images).to(device), torch.Generator(device)

    def step() -> Tensor:
        rows = torch.randint(len(data), (batch,), generator=rng, device=device)
        value = loss(vae, scaled(data[rows]), rng)
        update(state, value, decay=DECAY)
        return value.detach()

    updates, test, log = Updates(step, rng), held_out()[0][:64], Log(run / "vae.jsonl")
    while state.step < steps:
        state.prepare(rate(state.step, steps, peak=PEAK, warm_up=WARM_UP))
        log.add(updates(state.step))
        if state.step % every == 0 or state.step == steps:
            saved(state, checkpoint)
            log.write(state.step, psnr=psnr(test, reconstructed(average_of(checkpoint).to(device), test)))
    trained = average_of(checkpoint).to(device)
    z = encoded(trained, images[:2048])
    normalised(trained.cpu(), z).save_pretrained(run / "vae", safe_serialization=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="stem of the rendered training images (without .rgb)")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and result")
    parser.add_argument("--device", default="cpu", help="cpu, on one thread, or cuda")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    set_up()
    limits = {"steps": options.steps, "batch": options.batch, "every": options.every}
    train(options.raw, options.out, options.device, **limits)
