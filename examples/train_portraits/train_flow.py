"""Train the flow of the portrait model on latents that are encoded once; captions dropped for guidance.

    python train_flow.py --raw RAW --out RUN [--steps 12000]                           (one thread)
    python train_flow.py --raw RAW --out RUN --device cuda --steps 15000 --batch 256   (resumes by itself, as the other)
    python train_flow.py --raw RAW --out RUN --begin FOLDER     (go on from the weights of a pipeline folder)
    python train_flow.py --out RUN --export FOLDER              (the newest checkpoint as a float16 pipeline folder)

z data, n noise, s share of noise: z_s = (1 - s) z + s n, the network predicts n - z; s = sigmoid(N(0.2, 1)) (Esser et
al. 2024, arXiv 2403.03206, eq. 19). The rate is that of `optimiser.py`, the exported weights are a moving average.
The encoder is RUN/vae, else the committed one. RUN/flow.safetensors is the checkpoint, RUN/flow.jsonl has the loss on
held-out images at every one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from captions import caption, phrases
from dataset import Labels, held_out, read_raw
from diffusers import AutoencoderKL, StableDiffusionPipeline
from model import TOKENS, autoencoder, network, pipeline, text_encoder, tokenizer
from optimiser import Log, Updates, averaged, rate, saved, set_up, started, update
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from train_vae import LAYOUT, encoded

VAE = Path(__file__).parents[2] / "integrations/surrogate_ax_diffusers/portraits/vae"  # committed, in float16
BATCH, PEAK, WARM_UP, DECAY = 16, 2e-2, 50, 0.998
CAPTIONS = 8  # wordings of each image


class Flow(nn.Module):
    """The network and its text encoder, trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.text = text_encoder(len(tokenizer()))
        self.unet = network().to(memory_format=LAYOUT)

    def loss(self, z: Tensor, n: Tensor, s: Tensor, tokens: Tensor) -> Tensor:
        share = s[:, None, None, None]
        context = self.text(tokens).last_hidden_state
        noisy = ((1 - share) * z + share * n).contiguous(memory_format=LAYOUT)
        velocity = self.unet(noisy, 1000 * s, context).sample
        return (velocity - (n - z)).square().mean()


def encode(texts: list[str]) -> Tensor:
    """Tokens of n texts, int64 (n, TOKENS)."""
    return tokenizer()(texts, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids


def noise(shape: tuple[int, ...], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """n of that shape, and one s each."""
    n = torch.randn(shape, generator=rng, device=rng.device)
    return n, torch.sigmoid(0.2 + torch.randn(shape[0], generator=rng, device=rng.device))


@torch.no_grad()
def held_out_loss(flow: Flow, z: Tensor, labels: Labels, repeats: int = 2) -> float:
    """Mean loss on held-out latents with full captions and fixed noise: comparable between checkpoints."""
    tokens = encode([", ".join(phrases(label).values()) for label in labels])
    rng, losses = torch.Generator().manual_seed(0), []
    for _ in range(repeats):
        n, s = noise(z.shape, rng)
        parts = (x.to(flow.unet.device) for x in (z, n, s, tokens))
        losses += [flow.loss(*part).item() for part in zip(*(x.split(32) for x in parts), strict=True)]
    return float(np.mean(losses))


def latents(vae: AutoencoderKL, images: np.ndarray, cache: Path) -> Tensor:
    """The latents of `images` (n, 4, 16, 16), kept in `cache`, so that the encoder sees each image once."""
    if not cache.exists():
        save_file({"z": encoded(vae, images).half()}, cache)
    return load_file(cache)["z"].float()


def captions(labels: Labels, cache: Path) -> Tensor:
    """Tokens of `CAPTIONS` captions a label (n, CAPTIONS, TOKENS), kept in `cache`."""
    if not cache.exists():
        texts = list[str]()
        for i, label in enumerate(tqdm(labels, unit="label", desc="captions", mininterval=5)):
            rng = np.random.default_rng([1, i])
            texts += [caption(label, rng=rng) for _ in range(CAPTIONS)]
        save_file({"tokens": encode(texts).to(torch.int16).view(len(labels), CAPTIONS, TOKENS)}, cache)
    return load_file(cache)["tokens"].long()


def encoder(run: Path) -> AutoencoderKL:
    """RUN/vae; where `train_vae.py` did not make one, the committed VAE."""
    vae = autoencoder()  # its own configuration, which does not name the folder that it came from
    folder = run / "vae" if (run / "vae").exists() else VAE
    vae.load_state_dict(AutoencoderKL.from_pretrained(folder).float().state_dict())
    return vae.eval()


def begun(folder: Path | None) -> Flow:
    """A flow with new weights, or with those of a pipeline folder."""
    torch.manual_seed(0)
    flow = Flow()
    if folder:
        pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        flow.text.load_state_dict(pipe.text_encoder.float().state_dict())
        flow.unet.load_state_dict(pipe.unet.float().state_dict())
    return flow


def train(raw: Path, run: Path, begin: Path | None, device: str, limit: int, **schedule: float) -> None:
    """Train until the last step of the schedule, see `fit`."""
    flow = begun(begin).to(device)
    vae = encoder(run).to(device)
    images, labels = (part[:limit] for part in read_raw(raw))
    z = latents(vae, images, run / "latents.safetensors").to(device)
    tokens = captions(labels, run / "captions.safetensors").to(device)
    test, test_labels = held_out()
    fit(flow, run, (z, tokens), (encoded(vae, test[:96]), test_labels[:96]), **schedule)


def fit(
    flow: Flow,
    run: Path,
    examples: tuple[Tensor, Tensor],
    held: tuple[Tensor, Labels],
    *,
    steps: int,
    batch: int,
    every: int,
    peak: float,
) -> None:
    """Updates of `flow` from its last checkpoint in `run` to `steps`; a checkpoint and a record after `every` steps."""
    checkpoint, (z, tokens) = run / "flow.safetensors", examples
    state, rng = started(flow, checkpoint), torch.Generator(z.device)

    def step() -> Tensor:
        rows, which = (torch.randint(k, (batch,), generator=rng, device=z.device) for k in tokens.shape[:2])
        value = flow.loss(z[rows], *noise((batch, *z.shape[1:]), rng), tokens[rows, which])
        update(state, value, decay=DECAY)
        return value.detach()

    updates, log = Updates(step, rng), Log(run / "flow.jsonl")
    while state.step < steps:
        state.prepare(rate(state.step, steps, peak=peak, warm_up=WARM_UP))
        log.add(updates(state.step))
        if state.step % every == 0 or state.step == steps:
            saved(state, checkpoint)
            measured = Flow()
            measured.load_state_dict(averaged(checkpoint), strict=False)
            log.write(state.step, images=batch * state.step, held_out=held_out_loss(measured.to(z.device), *held))


def export(run: Path, folder: Path) -> None:
    """The averaged weights and RUN/vae as a float16 safetensors pipeline folder."""
    flow = Flow()
    flow.load_state_dict(averaged(run / "flow.safetensors"), strict=False)  # buffers are not in a checkpoint
    pipe = pipeline(encoder(run), flow.unet, flow.text, tokenizer()).to(torch.float16)
    pipe.save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="stem of the rendered training images (without .rgb)")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--device", default="cpu", help="cpu, on one thread, or cuda")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--peak", type=float, default=PEAK, help="learning rate, lower where trained weights go on")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--images", type=int, default=30_000, help="how many training images to encode and use")
    parser.add_argument("--begin", type=Path, help="a pipeline folder whose weights the training starts from")
    parser.add_argument("--export", type=Path, help="write the newest checkpoint as a pipeline folder and stop")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    set_up()
    if options.export:
        export(options.out, options.export)
    else:
        schedule = {name: getattr(options, name) for name in ("steps", "batch", "every", "peak")}
        train(options.raw, options.out, options.begin, options.device, options.images, **schedule)
