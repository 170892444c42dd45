"""Where a sweep's generator comes from, as its file says: a model, a folder, a function, or actors with one each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from surrogate_ax.errors import MOST
from surrogate_ax_cli import embedded, yaml_node
from surrogate_ax_cli.yaml_node import Reader, YamlNode

Kind = Literal["embedded", "folder", "function"]
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Source:
    """Where the generator comes from.

    Args:
        kind: an embedded model, a folder of a diffusers pipeline, or a function that makes one.
        where: the embedded model's name, the folder (or a repository in the Hugging Face cache, or one file), or
            "package.module:factory".
        options: how a pipeline is loaded: device, offload, step_noise, and arguments of `load_pipeline`.
        ray: the actors that have it, where it runs on Ray: actors, cpus, gpus, address, score, outputs.
    """

    kind: Kind
    where: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ray: Mapping[str, Any] | None = None

    @property
    def scores_there(self) -> bool:
        """Whether Ray's actors score what they make."""
        return bool(self.ray and self.ray.get("score"))


def is_repository(where: str) -> bool:
    """Whether a name is to be looked up in the Hugging Face cache: "owner/name", and no folder is called so."""
    return REPOSITORY.fullmatch(where) is not None and not Path(where).exists()


def beside(folder: Path, where: str) -> str:
    """What a file in a folder names: a path from there, or an address or a repository as it stands."""
    path = folder / where
    return where if "://" in where or (is_repository(where) and not path.exists()) else str(path)


def load_options(source: Source, folder: Path) -> dict[str, Any]:
    """How a pipeline is loaded, with paths from the folder of the sweep file.

    Args:
        source: of kind "folder".
        folder: where the sweep file is.
    """
    options = dict(source.options)
    if "config" in options:
        options["config"] = beside(folder, options["config"])
    if "lora" in options:
        options["lora"] = {str(folder / file): scale for file, scale in options["lora"].items()}
    return options


def read_source(node: YamlNode) -> Source:
    """A reader of `generator:`."""
    value = node.value()
    if isinstance(value, dict) and "ray" in value:
        (given,) = yaml_node.mapping({"ray": _actors}, required=("ray",))(node).values()
        model: Source = given.pop("of")
        return replace(model, ray=given)
    return _model(node)


def _model(node: YamlNode) -> Source:
    value = node.value()
    if isinstance(value, str):
        where = yaml_node.text(node)
        if where in embedded.NAMES:
            return Source("embedded", where)
        return Source("function" if FUNCTION.fullmatch(where) else "folder", where)
    if not isinstance(value, dict):
        kinds = "a folder, package.module:function, or {folder: models/sd, device: cuda}"
        raise node.expected(f"{embedded.LISTED}, {kinds}; or {{ray: {{of: one of these, actors: 2}}}}")
    options = yaml_node.mapping(_PIPELINE, required=("folder",))(node)
    return Source("folder", options.pop("folder"), options)


def _actors(node: YamlNode) -> dict[str, Any]:
    return dict(yaml_node.mapping(_RAY, required=("of",))(node))


def _loras(node: YamlNode) -> dict[str, float]:
    """Scales by file."""
    value = node.value()
    if isinstance(value, dict):
        return {file: yaml_node.number(scale) for file, scale in node.entries()}
    files = [node] if isinstance(value, str) else node.items()
    return {yaml_node.text(file): 1.0 for file in files}


def _share(node: YamlNode) -> float:
    amount = yaml_node.number(node)
    if not 0 <= amount < MOST:
        raise node.expected("a number from 0")
    return amount


_PIPELINE: Mapping[str, Reader] = {
    "folder": yaml_node.text,
    "device": yaml_node.text,
    "dtype": yaml_node.one_of("float32", "bfloat16", "float16"),
    "variant": yaml_node.text,
    "offload": yaml_node.boolean,
    "step_noise": yaml_node.boolean,
    "revision": yaml_node.text,
    "pipeline": yaml_node.text,
    "config": yaml_node.text,
    "lora": _loras,
    "quantization": yaml_node.arguments,
}
_RAY: Mapping[str, Reader] = {
    "of": _model,
    "actors": yaml_node.whole_number(1, MOST),
    "cpus": _share,
    "gpus": _share,
    "address": yaml_node.text,
    "score": yaml_node.boolean,
    "outputs": yaml_node.one_of("whole", "previews"),
}
