"""How like a text an image is, by CLIP: a ready judge, from a local folder of weights.

An image's score is 100 times the cosine of its embedding and the text's, as CLIPScore has it, but not cut at zero:
below it the number still says which is better. Images are resized and normalised as the folder's processor says.
Several texts are one: the mean of their unit embeddings, as CLIP's authors combine phrasings like "a photo of a cat".
Reference: A. Radford et al., Learning transferable visual models from natural language supervision, ICML 2021, section
3.1.4; J. Hessel et al., CLIPScore, EMNLP 2021.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from surrogate_ax.arrays import Array
from surrogate_ax.checks import text
from surrogate_ax.errors import ArgumentError
from surrogate_ax.media.previews import to_image
from surrogate_ax_diffusers.cut_prompts import left_out
from surrogate_ax_diffusers.embedded import quiet

_logger = logging.getLogger(__name__)


class ClipScore:
    """A score of images: how like a text they are. `Objective(Metric("likeness"), score=ClipScore(...))`.

    Args:
        *texts: what images should be like; several are combined.
        weights: a local folder of a CLIP model as `save_pretrained` writes it, weights as safetensors.
        device: where it computes.
        batch_size: images embedded at once.

    Raises:
        ArgumentError: no text, no such folder, or weights that cannot be loaded.
    """

    def __init__(
        self, *texts: str, weights: Path | str, device: str | torch.device = "cpu", batch_size: int = 16
    ) -> None:
        if not texts or not all(text(each, "texts").strip() for each in texts):
            raise ArgumentError(f"texts: expected what images should be like, got {texts}.")
        self._model, self._processor = _load(Path(weights))
        self._model = self._model.to(device)
        self._batch_size = batch_size
        for each in texts:
            if rest := left_out(self._processor.tokenizer, each):
                _logger.warning("clip: too long a text, of which the end is left out: %r.", rest)
        self._text = self._embed_texts(list(texts))

    def __call__(self, outputs: Any, conditions: Sequence[Mapping[str, Any]]) -> Array:
        """100 cos (n,) of n images."""
        images = [to_image(output) for output in outputs]
        batches = [images[k : k + self._batch_size] for k in range(0, len(images), self._batch_size)]
        found = [self._embed_images(batch) @ self._text for batch in batches]
        return torch.cat(found).double().cpu().numpy() * 100 if found else np.zeros(0)

    @torch.inference_mode()
    def _embed_texts(self, texts: list[str]) -> Tensor:
        """The unit embedding (d,) of all texts together."""
        tokens = self._processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(self._model.device)
        found = self._model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask)
        return _unit(_unit(found.pooler_output).mean(dim=0))

    @torch.inference_mode()
    def _embed_images(self, images: Sequence[Any]) -> Tensor:
        """Unit embeddings (n, d)."""
        pixels = self._processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        found = self._model.get_image_features(pixels.to(self._model.device, self._model.dtype))
        return _unit(found.pooler_output)


def _load(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise ArgumentError(f"weights: expected a folder with a CLIP model's config.json, got {folder}.")
    try:
        with quiet():
            model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            return model.eval(), CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArgumentError(
            f"weights: {folder} cannot be loaded as a CLIP model ({' '.join(str(error).split())[:300]}). It has to "
            "hold config.json, model.safetensors, preprocessor_config.json and the tokenizer's files."
        ) from error


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.norm(dim=-1, keepdim=True)
    return unit
