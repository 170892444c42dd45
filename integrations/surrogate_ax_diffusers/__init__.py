"""Diffusers pipelines as generators, safe loading of local ones, and the embedded models: avatars and portraits."""

try:
    import diffusers as _diffusers  # noqa: F401
    import transformers as _transformers  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError(
        "surrogate_ax_diffusers needs diffusers and transformers: pip install 'surrogate-ax[diffusers]'."
    ) from error

from surrogate_ax_diffusers.avatars import avatar_generator, encode_avatars, load_avatars
from surrogate_ax_diffusers.clip_score import ClipScore
from surrogate_ax_diffusers.editable import EditablePipelineGenerator
from surrogate_ax_diffusers.encoding import EncodablePipelineGenerator
from surrogate_ax_diffusers.factory import pipeline_generator
from surrogate_ax_diffusers.families import FAMILIES, Family
from surrogate_ax_diffusers.loading import load_pipeline
from surrogate_ax_diffusers.pipeline import PipelineGenerator
from surrogate_ax_diffusers.portraits import encode_portraits, load_portraits, portrait_generator
from surrogate_ax_diffusers.proteins import ProteinGenerator, unconditional
from surrogate_ax_diffusers.stepping import SteppablePipelineGenerator

__all__ = [
    "FAMILIES",
    "ClipScore",
    "EditablePipelineGenerator",
    "EncodablePipelineGenerator",
    "Family",
    "PipelineGenerator",
    "ProteinGenerator",
    "SteppablePipelineGenerator",
    "avatar_generator",
    "encode_avatars",
    "encode_portraits",
    "load_avatars",
    "load_pipeline",
    "load_portraits",
    "pipeline_generator",
    "portrait_generator",
    "unconditional",
]
