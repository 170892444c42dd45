"""An independent judge of six attributes: a small CNN that only ever saw rendered portraits.

    python classifier.py --raw RAW [--test TEST] [--epochs 6]     trains and writes classifier.safetensors

x images in [-1, 1] (n, 3, 64, 64); one row of logits an attribute, over the words of `ATTRIBUTES`. Half of the training
images are blurred and made noisy, and all are slightly recoloured, so that generated pixels, which are never exactly
those of the renderer, are judged by shape and not by exact colour. No generated image is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from captions import ACCESSORIES, BACKGROUNDS, CLOTHES, FACES, FACIAL_HAIR, HAIR, HEADWEAR
from dataset import Labels, held_out, read_raw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
ATTRIBUTES = {
    "accessory": ACCESSORIES,
    "facialHair": FACIAL_HAIR,
    "hair": (*HAIR, *HEADWEAR),
    "face": FACES,
    "clothes": CLOTHES,
    "background": BACKGROUNDS,
}
BATCH, PEAK = 64, 3e-3


class Classifier(nn.Module):
    """Five convolutions, 64x64 -> 4x4, then one linear layer an attribute that knows where in the image it looks."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in [(3, 16), (16, 32), (32, 64), (64, 96)]:
            layers += [nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        layers += [nn.Conv2d(96, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2)]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(48 * 4 * 4, len(words)) for words in ATTRIBUTES.values())

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = self.body(x)
        return [head(seen) for head in self.heads]


def scaled(images: np.ndarray) -> Tensor:
    """uint8 images (n, 64, 64, 3) -> x in [-1, 1], float32 (n, 3, 64, 64)."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def truths(labels: Labels) -> np.ndarray:
    """The attributes of n labels as indices into their words, (n, 6)."""
    return np.array([[words.index(label[name]) for name, words in ATTRIBUTES.items()] for label in labels])


def augmented(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """`x` with a small change of contrast and colour; every second image also with a 3x3 blur and pixel noise."""
    n = len(x)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(n, channels, 1, 1, generator=rng)

    x = x * uniform(0.95, 1.05) + uniform(-0.03, 0.03, 3)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    blurred = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    rough = (torch.arange(n) % 2).view(n, 1, 1, 1)
    x = torch.lerp(x, blurred, rough * uniform(-0.2, 0.8).clamp(min=0))
    return (x + rough * uniform(0, 0.15) * torch.randn(x.shape, generator=rng)).clamp(-1, 1)


@torch.no_grad()
def predict(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """What n uint8 images (n, 64, 64, 3) show, as indices into the words of each attribute, (n, 6)."""
    parts = [classifier(scaled(images[i : i + 256])) for i in range(0, len(images), 256)]
    return torch.cat([torch.stack([logits.argmax(1) for logits in part], dim=1) for part in parts]).numpy()


def balanced_accuracy(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The mean over an attribute's words of the share of images with that word that are seen as such, (6,)."""
    scores = []
    for p, t in zip(predicted.T, true.T, strict=True):
        scores.append(np.mean([(p[t == word] == word).mean() for word in np.unique(t)]))
    return np.array(scores)


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
    classifier, target = Classifier(), torch.from_numpy(truths(labels))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK, weight_decay=0.02)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps, pct_start=0.15)
    bar = tqdm(total=steps, unit="step", desc="classifier", mininterval=5)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=rng)
        for rows in order[: len(images) // BATCH * BATCH].split(BATCH):
            logits = classifier(augmented(scaled(images[rows.numpy()]), rng=rng))
            each = [
                nn.functional.cross_entropy(answer, target[rows, a], label_smoothing=0.02)
                for a, answer in enumerate(logits)
            ]
            loss = torch.stack(each).sum()
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
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.raw:
        save(train(*read_raw(options.raw), epochs=options.epochs))
    committed = load()
    report("held out", committed, *held_out())
    if options.test:
        report("test", committed, *read_raw(options.test))
