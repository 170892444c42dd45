"""Search a generator's outputs with Optuna: any sampler, any storage, batch by batch."""

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_optuna needs Optuna: pip install 'surrogate-ax[optuna]'.") from error

from surrogate_ax.analysis.picks import Pick, Portfolio
from surrogate_ax_optuna.by_hand import record, suggest_latents, trial_function
from surrogate_ax_optuna.explore import explore
from surrogate_ax_optuna.host import OptunaHost
from surrogate_ax_optuna.mirror import mirror
from surrogate_ax_optuna.optimize import optimize
from surrogate_ax_optuna.output_folder import OutputFolder
from surrogate_ax_optuna.portfolio import contact_sheet, portfolio, summary, trials_frame
from surrogate_ax_optuna.pruning import CohortPruner
from surrogate_ax_optuna.record import read_record, status
from surrogate_ax_optuna.sampler import RoundSampler
from surrogate_ax_optuna.search_samplers import MovingBoxSampler, SurrogateSampler
from surrogate_ax_optuna.search_space import distributions
from surrogate_ax_optuna.source import study_source
from surrogate_ax_optuna.storage import sqlite
from surrogate_ax_optuna.studies import create_study
from surrogate_ax_optuna.unscored import score_kept

__all__ = [
    "CohortPruner",
    "MovingBoxSampler",
    "OptunaHost",
    "OutputFolder",
    "Pick",
    "Portfolio",
    "RoundSampler",
    "SurrogateSampler",
    "contact_sheet",
    "create_study",
    "distributions",
    "explore",
    "mirror",
    "optimize",
    "portfolio",
    "read_record",
    "record",
    "score_kept",
    "sqlite",
    "status",
    "study_source",
    "suggest_latents",
    "summary",
    "trial_function",
    "trials_frame",
]
