"""plotly.js, as the Plotly package has it: the one library that draws plots here, in Optuna and in Ax."""

from __future__ import annotations

from functools import cache

from surrogate_ax.errors import MissingExtraError


@cache
def plotly_script() -> str:
    """Its source.

    Raises:
        MissingExtraError: Plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("Plots need Plotly: pip install 'surrogate-ax[web]'.") from error
    source: str = get_plotlyjs()
    return source
