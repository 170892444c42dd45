"""An independent judge of six binary attributes: a small CNN that only ever saw rendered avatars.

    python classifier.py --raw RAW [--test TEST] [--epochs 6]     trains and writes classifier.safetensors

x images in [-1, 1] (n, 3, 16, 16); logits (n, 6), one an attribute of `captions.BINARY`, positive where it is present.
Half of the training images are blurred and made noisy, and all are slightly recoloured, so that generated pixels, which
are never exactly those of the renderer, are judged by shape and not by exact colour. No generated image is used. The
other half stay sharp, because a beard in dark hair colour is blended so thinly that one in ten changes no pixel by more
than 7 of 255; for its sake the differences of neighbouring pixels enter magnified.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from captions import BINARY, truth
from dataset import Labels, held_out, read_raw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
ATTRIBUTES = tuple(BINARY)
BATCH, PEAK, GAIN = 128, 4e-3, 12.0


class Classifier(nn.Module):
    """Five 3x3 convolutions, 16x16 -> 8x8 -> 4x4, then one linear layer that knows where in the face it looks."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o, stride in [(9, 32, 1), (32, 48, 2), (48, 48, 1), (48, 80, 2), (80, 80, 1)]:
            layers += [nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(80 * 4 * 4, len(ATTRIBUTES))

    def forward(self, x: Tensor) -> Tensor:
        right = nn.functional.pad(x[..., 1:] - x[..., :-1], (0, 1))
        down = nn.functional.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
        return self.head(self.body(torch.cat([x, torch.tanh(GAIN * right), torch.tanh(GAIN * down)], dim=1)))


def scaled(images: np.ndarray) -> Tensor:
    """uint8 images (n, 16, 16, 3) -> x in [-1, 1], float32 (n, 3, 16, 16)."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def truths(labels: Labels) -> np.ndarray:
    """The attributes of n labels, bool (n, 6)."""
    return np.array([[truth(label)[name] for name in ATTRIBUTES] for label in labels])


def augmented(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """`x` with a small change of contrast and colour; every second image also with a 3x3 blur and pixel noise."""
    n = len(x)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(n, channels, 1, 1, generator=rng)

    x = x * uniform(0.93, 1.07) + uniform(-0.05, 0.05, 3)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    blurred = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    rough = (torch.arange(n) % 2).view(n, 1, 1, 1)
    x = torch.lerp(x, blurred, rough * uniform(-0.2, 0.4).clamp(min=0))
    return (x + rough * uniform(0, 0.12) * torch.randn(x.shape, generator=rng)).clamp(-1, 1)


@torch.no_grad()
def predict(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Which attributes n uint8 images (n, 16, 16, 3) show, bool (n, 6)."""
    return torch.cat([classifier(part) > 0 for part in scaled(images).split(256)]).numpy()


def balanced_accuracy(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The mean of the hit rates on images with and without the attribute, (6,)."""
    right = predicted == true
    return np.array([(r[t].mean() + r[~t].mean()) / 2 for r, t in zip(right.T, true.T, strict=True)])


def load(path: Path = WEIGHTS) -> Classifier:
    """The committed classifier, its float16 weights as float32, ready to predict."""
    classifier = Classifier()
    classifier.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()}, strict=False)
    return classifier.eval()


def save(classifier: Classifier, path: Path = WEIGHTS) -> None:
    """Weights and batch statistics as float16; the batch counters are of no use to prediction."""
    kept = {name: tensor for name, tensor in classifier.state_dict().items() if tensor.is_floating_point()}
    save_file({name: tensor.half().contiguous() for name, tensor in kept.items()}, path)


def train(images: np.ndarray, labels: Labels, *, epochs: int) -> Classifier:
    """A classifier after `epochs` passes in random order: AdamW, one-cycle cosine, smoothed targets."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    classifier, x = Classifier(), scaled(images)
    target = torch.from_numpy(truths(labels)).float() * 0.96 + 0.02
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK, weight_decay=0.02)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps, pct_start=0.15)
    bar = tqdm(total=steps, unit="step", desc="classifier")
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=rng)
        for rows in order[: len(x) // BATCH * BATCH].split(BATCH):
            logits = classifier(augmented(x[rows], rng=rng))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    bar.close()
    return classifier.eval()


def report(name: str, classifier: Classifier, images: np.ndarray, labels: Labels) -> None:
    scores = balanced_accuracy(predict(classifier, images), truths(labels))
    print(f"{name} (n={len(images)})", *(f"{a} {v:.4f}" for a, v in zip(ATTRIBUTES, scores, strict=True)), sep="  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="stem of rendered training images; without it, only measure")
    parser.add_argument("--test", type=Path, help="stem of rendered images with other seeds, to measure on")
    parser.add_argument("--images", type=int, default=40_000, help="how many training images to use")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.raw:
        raw, raw_labels = read_raw(options.raw)
        save(train(raw[: options.images], raw_labels[: options.images], epochs=options.epochs))
    committed = load()
    report("held out", committed, *held_out())
    if options.test:
        report("test", committed, *read_raw(options.test))
