"""Train the avatar model: rectified flow on 16x16 pixels, captions dropped for guidance.

    torchrun --nproc-per-node 2 train.py --raw RAW --out RUN [--steps 7000]     (one process a core; resumes by itself)
    python train.py --out RUN --export FOLDER                                   (the newest checkpoint as float16)

z data, n noise, s share of noise: z_s = (1 - s) z + s n, the network predicts n - z; s = sigmoid(N(0.2, 1)) (Esser et
al. 2024, arXiv 2403.03206, eq. 19). AdamW with warm-up, a cosine that ends after 0.6 of the steps and a low tail that
falls to zero in the last tenth; the exported weights are an exponential moving average. RUN/log.jsonl has the loss on
the 256 held-out images.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from captions import caption, phrases
from dataset import held_out, read_raw
from model import TOKENS, network, pipeline, text_encoder, tokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BATCH, PEAK, FLOOR, WARM_UP, DECAY = 64, 2e-3, 2e-5, 200, 0.999


class Flow(nn.Module):
    """The network and its text encoder, trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.words = tokenizer()
        self.text = text_encoder(len(self.words))
        self.unet = network()

    def tokens(self, captions: list[str]) -> Tensor:
        return self.words(captions, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids

    def loss(self, z: Tensor, n: Tensor, s: Tensor, tokens: Tensor) -> Tensor:
        share = s[:, None, None, None]
        context = self.text(tokens).last_hidden_state
        velocity = self.unet((1 - share) * z + share * n, 1000 * s, context).sample
        return (velocity - (n - z)).square().mean()


def encode(images: np.ndarray) -> Tensor:
    """uint8 images (n, 16, 16, 3) -> latents 3 atanh(x / 3), float32 (n, 3, 16, 16)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 127.5 - 1
    return (3 * torch.atanh(x / 3)).float().contiguous()  # not channels-last, which halves the speed


def noise(shape: tuple[int, ...], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    n = torch.randn(shape, generator=rng)
    return n, torch.sigmoid(0.2 + torch.randn(shape[0], generator=rng))


@torch.no_grad()
def held_out_loss(flow: Flow, repeats: int = 8) -> float:
    """Mean loss on the held-out images with full captions and fixed noise: comparable between checkpoints."""
    images, labels = held_out()
    z, tokens = encode(images), flow.tokens([", ".join(phrases(label).values()) for label in labels])
    rng = torch.Generator().manual_seed(0)
    return float(np.mean([flow.loss(z, *noise(z.shape, rng), tokens).item() for _ in range(repeats)]))


def learning_rate(step: int, steps: int) -> float:
    if step < WARM_UP:
        return PEAK * (step + 1) / WARM_UP
    progress = min(1.0, (step - WARM_UP) / (0.6 * steps - WARM_UP))
    floor = FLOOR * min(1.0, (steps - step) / (0.1 * steps))
    return floor + (PEAK - FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def save(path: Path, parts: dict[str, dict[str, Tensor]], step: int) -> None:
    flat = {
        f"{part}/{name}": tensor.contiguous() for part, tensors in parts.items() for name, tensor in tensors.items()
    }
    save_file({**flat, "step": torch.tensor(step)}, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def load(path: Path, parts: dict[str, dict[str, Tensor]]) -> int:
    flat = load_file(path)
    for part, tensors in parts.items():
        for name, tensor in tensors.items():
            tensor.copy_(flat[f"{part}/{name}"])
    return int(flat["step"])


def train(raw: Path, run: Path, steps: int, every: int) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    flow = Flow()
    parameters = list(flow.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, betas=(0.9, 0.99), weight_decay=0.01)
    average = {name: p.detach().clone() for name, p in flow.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in average.items()}
    second = {name: torch.zeros_like(p) for name, p in average.items()}
    for p, m, v in zip(parameters, first.values(), second.values(), strict=True):
        optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": m, "exp_avg_sq": v}
    parts = {"model": {n: p.data for n, p in flow.named_parameters()}, "average": average, "m": first, "v": second}
    checkpoint, start = run / "checkpoint.safetensors", 0
    if checkpoint.exists():
        start = load(checkpoint, parts)
        for p in parameters:
            optimizer.state[p]["step"].fill_(float(start))
    images, labels = read_raw(raw)
    z, texts = encode(images), [list(phrases(label).values()) for label in labels]
    clock, losses = time.time(), []
    for step in range(start, steps):
        rng = np.random.default_rng([0, step, rank])
        rows = rng.integers(len(z), size=BATCH // world)
        tokens = flow.tokens([caption(texts[i], rng=rng) for i in rows])
        generator = torch.Generator().manual_seed(step * world + rank)
        loss = flow.loss(z[rows], *noise((len(rows), *z.shape[1:]), generator), tokens)
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in parameters]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= world
        flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6))
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.step()
        decay = min(DECAY, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.values()), [p.data for p in parameters], 1 - decay)
        losses.append(loss.item())
        if rank == 0 and ((step + 1) % every == 0 or step + 1 == steps):
            save(checkpoint, parts, step + 1)
            evaluated = Flow()
            evaluated.load_state_dict(average, strict=False)
            record = {"step": step + 1, "loss": float(np.mean(losses)), "held_out": held_out_loss(evaluated)}
            record["seconds_a_step"] = (time.time() - clock) / len(losses)
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
            clock, losses = time.time(), []


def export(run: Path, folder: Path) -> None:
    """The averaged weights as a float16 safetensors pipeline folder."""
    flow = Flow()
    load(run / "checkpoint.safetensors", {"average": {n: p.data for n, p in flow.named_parameters()}})
    pipeline(flow.unet, flow.text, flow.words).to(torch.float16).save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="stem of the rendered training images (without .rgb)")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--export", type=Path, help="write the newest checkpoint as a pipeline folder and stop")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.export:
        export(options.out, options.export)
    else:
        train(options.raw, options.out, options.steps, options.every)
