"""Search a generator's outputs with Ax: the client keeps its generation strategy, storage and analyses."""

try:
    import ax.api.client as _ax  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_platform needs Ax 1.3: pip install 'surrogate-ax[ax]'.") from error

from surrogate_ax.analysis.picks import Pick, Portfolio
from surrogate_ax_platform.by_hand import trial_function
from surrogate_ax_platform.copies import trial_copies
from surrogate_ax_platform.database import database
from surrogate_ax_platform.drive import configure_runner
from surrogate_ax_platform.host import AxHost
from surrogate_ax_platform.optimize import configure_experiment, optimize
from surrogate_ax_platform.portfolio import contact_sheet, portfolio, summary, trials_frame
from surrogate_ax_platform.records import read_record, status
from surrogate_ax_platform.search_space import parameters
from surrogate_ax_platform.snapshot import load_client, save_client
from surrogate_ax_platform.source import client_source
from surrogate_ax_platform.strategy import generation_strategy

__all__ = [
    "AxHost",
    "Pick",
    "Portfolio",
    "client_source",
    "configure_experiment",
    "configure_runner",
    "contact_sheet",
    "database",
    "generation_strategy",
    "load_client",
    "optimize",
    "parameters",
    "portfolio",
    "read_record",
    "save_client",
    "status",
    "summary",
    "trial_copies",
    "trial_function",
    "trials_frame",
]
