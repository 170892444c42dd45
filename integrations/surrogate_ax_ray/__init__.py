"""Ray: one search on many GPUs. `RayGenerator` is a pool of actors, each with a generator of its own, as one generator.

Keys and coefficients travel to the actors, which make the latents, run the model and, where that is asked for, the
score. Executors, hosts and everything else of a search stay as they are.
"""

try:
    import ray as _ray  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_ray needs Ray: pip install 'surrogate-ax[ray]'.") from error

from surrogate_ax_ray.generator import RayGenerator
from surrogate_ax_ray.remote_output import RemoteOutput

__all__ = ["RayGenerator", "RemoteOutput"]
