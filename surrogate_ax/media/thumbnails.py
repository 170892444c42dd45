"""Outputs as small pictures in the HTML of a notebook; what is no picture is named."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch

from surrogate_ax.errors import MissingExtraError, UnsupportedError
from surrogate_ax.media.contact_sheet import fitted
from surrogate_ax.media.previews import to_image, value_limits

SIDE, MOST = 112, 24  # pixels of the longer side; outputs that are shown


def thumbnails(outputs: Sequence[Any], captions: Sequence[str]) -> str:
    """Outputs beside each other, each over its caption; floats that are shown together share black and white.

    Args:
        outputs: n outputs; None where there is none.
        captions: n short texts.
    """
    limits = _limits(outputs[:MOST])
    figures = [
        f'<figure style="display:inline-block;margin:4px 8px 4px 0;width:{SIDE}px;vertical-align:top">'
        f"{_picture(output, limits)}"
        f'<figcaption style="font-size:11px;overflow-wrap:anywhere">{escape(caption)}</figcaption></figure>'
        for output, caption in zip(outputs[:MOST], captions[:MOST], strict=True)
    ]
    more = f"<p>and {len(outputs) - MOST} more</p>" if len(outputs) > MOST else ""
    return "".join(figures) + more


def _limits(outputs: Sequence[Any]) -> tuple[float, float]:
    tensors = (output.detach().cpu() if isinstance(output, torch.Tensor) else output for output in outputs)
    arrays = [x.float().numpy() if isinstance(x, torch.Tensor) else x for x in tensors]  # NumPy has no bfloat16
    return value_limits([x for x in arrays if isinstance(x, np.ndarray)])


def _picture(output: Any, limits: tuple[float, float]) -> str:
    try:
        image = fitted(to_image(output, limits=limits), SIDE)
    except (UnsupportedError, MissingExtraError):
        shape = tuple(getattr(output, "shape", ()))
        return f"<code>{escape(type(output).__name__)}{escape(str(shape)) if shape else ''}</code>"
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
