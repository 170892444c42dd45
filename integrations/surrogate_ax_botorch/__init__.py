"""A Gaussian process kernel on the coefficients of latents, for BoTorch models."""

try:
    import botorch as _botorch  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_botorch needs BoTorch: pip install 'surrogate-ax[botorch]'.") from error

from surrogate_ax_botorch.candidates import CoefficientCandidates
from surrogate_ax_botorch.charts import weights
from surrogate_ax_botorch.geometry import Box, Geometry, Placed
from surrogate_ax_botorch.kernel import CoefficientKernel
from surrogate_ax_botorch.liking import liking_model

__all__ = ["Box", "CoefficientCandidates", "CoefficientKernel", "Geometry", "Placed", "liking_model", "weights"]
