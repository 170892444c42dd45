"""Prompts that are longer than a pipeline reads: what it would leave out without a word."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from surrogate_ax_diffusers.families import Pipeline

_logger = logging.getLogger(__name__)
_TEXTS = ("prompt", "negative_prompt")
_UNLIMITED = 100_000  # tokens: tokenizers that name no limit name a number beyond all bounds


class CutWarnings:
    """Says once of each prompt what a pipeline leaves out of it.

    Args:
        pipe: the pipeline.
    """

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe, self._said = pipe, set[str]()

    def __call__(self, calls: Iterable[Mapping[str, Any]]) -> None:
        """Look at the texts of call arguments."""
        for text, rest in cut_texts(self._pipe, calls).items():
            if text not in self._said:
                _logger.warning("prompt: a text encoder of %s leaves out its end, %r.", type(self._pipe).__name__, rest)
            self._said.add(text)


def cut_texts(pipe: Pipeline, calls: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What is left out of each prompt that is too long, by the prompt.

    Text encoders with a fixed number of tokens, such as CLIP's 77, are known by their tokenizer's limit. Where several
    encoders read a prompt, what the first of them leaves out is given.

    Args:
        pipe: any pipeline.
        calls: call arguments, of which the texts are read.
    """
    given = [call.get(name) for call in calls for name in _TEXTS]
    readers = [part for part in pipe.components.values() if isinstance(part, PreTrainedTokenizerBase)]
    cut: dict[str, str] = {}
    for text in dict.fromkeys(text for text in given if isinstance(text, str)):
        for reader in readers:
            if text not in cut and (rest := left_out(reader, text)):
                cut[text] = rest
    return cut


def left_out(reader: Any, text: str) -> str:
    """What a tokenizer leaves out of a text, empty where it reads all of it."""
    most = reader.model_max_length
    if most > _UNLIMITED:
        return ""
    tokens = reader(text, truncation=False, verbose=False).input_ids
    end = most - reader.num_special_tokens_to_add()
    inside = reader(text, truncation=False, verbose=False, add_special_tokens=False).input_ids
    return str(reader.decode(inside[end:])).strip() if len(tokens) > most else ""
