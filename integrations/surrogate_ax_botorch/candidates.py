"""The model on coefficients for Optuna: a `candidates_func` of BoTorchSampler, for one box or for boxes that move.

BoTorchSampler hands over points in Optuna's columns (parameters by name, logarithms taken, a category as one column for
each of its values) and asks for one more. Here columns are put on [0, 1], points become rows for `CoefficientKernel`
(u, round, ordered parameters, numbers of categories), and the next point is where the noisy expected improvement
(several objectives: of the hypervolume) is largest. Rows of earlier rounds are placed by their coefficients, so no
frame but the present one is needed. n rows, K axes, p columns, m objectives, b bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.transforms import Standardize
from botorch.optim.optimize import optimize_acqf
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from botorch.utils.transforms import normalize, unnormalize
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax.policies.history import History
from surrogate_ax_botorch.geometry import Geometry
from surrogate_ax_botorch.kernel import CoefficientKernel
from surrogate_ax_botorch.placed_trials import box_geometry, placed_trials

BEGIN = 3  # rows below which a point is drawn at random
RESTARTS, RAW, STEPS = 8, 256, 60  # of the acquisition's optimiser
AT_ONCE = 64  # first points that are evaluated together
EveryRound = Callable[[], tuple[History, Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True)
class Known:
    """What the model is fitted to.

    Args:
        x: (n, q) rows as the kernel takes them.
        y: (n, m + b) objectives, to be maximised, then bounds, kept where they are not positive.
        objectives: m.
        geometry: places the rows.
    """

    x: Tensor
    y: Tensor
    objectives: int
    geometry: Geometry


class CoefficientCandidates:
    """Proposes points for Optuna's BoTorchSampler by the model on coefficients.

    `BoTorchSampler(candidates_func=CoefficientCandidates(), n_startup_trials=0)` as the sampler of a study that
    `surrogate_ax_optuna.optimize` runs: it is told every round's box there, and learns from the trials of all rounds.
    With a loop of one's own give the box: `CoefficientCandidates(space)`; take `consider_running_trials=True` where
    several trials run at once.

    Args:
        space: the box, the same for the life of a study.
        conditions: searched call arguments beside the box.

    Raises:
        ArgumentError: conditions that are not searched values.

    Reference: arXiv 2509.23800 (surrogate spaces); BoTorch's qLogNEI and qLogNEHVI.
    """

    def __init__(
        self, space: SurrogateSpace | None = None, *, conditions: Mapping[str, Range | Choice] | None = None
    ) -> None:
        self._space = space
        self._conditions = dict(check_searched(conditions or {}))
        self._told: EveryRound | None = None
        self._fitted: tuple[Tensor, Tensor, Any] | None = None

    def in_round(
        self, space: SurrogateSpace, conditions: Mapping[str, Range | Choice], history: EveryRound
    ) -> CoefficientCandidates:
        """The same for one round of a study whose box moves.

        Args:
            space: the round's box.
            conditions: searched call arguments.
            history: gives what is known of the ended trials of every round, and their conditions.
        """
        mine = type(self)(space, conditions=conditions)
        mine._told = history
        return mine

    def __call__(
        self, train_x: Tensor, train_obj: Tensor, train_con: Tensor | None, bounds: Tensor, pending_x: Tensor | None
    ) -> Tensor:
        """The next point, with the arguments that BoTorchSampler gives.

        Args:
            train_x: (n, p) points.
            train_obj: (n, m) their objectives, to be maximised.
            train_con: (n, b) their bounds, kept where they are not positive.
            bounds: (2, p) of the columns.
            pending_x: (r, p) points that are being evaluated.

        Returns:
            (1, p).

        Raises:
            ArgumentError: no space was given, or other columns than those of space and conditions.
        """
        if self._space is None:
            raise ArgumentError(
                "space: expected the box of the study, got none. Use CoefficientCandidates(space), or "
                "surrogate_ax_optuna.optimize, which tells the box of every round."
            )
        columns = _Columns(self._space.axes, self._conditions, bounds)
        if self._told is not None:
            return self._propose(_of_all_rounds(self._space, columns, *self._told()), columns, pending_x)
        y = train_obj if train_con is None else torch.cat([train_obj, train_con], dim=1)
        known = Known(
            columns.rows(normalize(train_x, bounds)), y, train_obj.shape[1], box_geometry(self._space, (), {})
        )
        return self._propose(known, columns, pending_x)

    def _propose(self, known: Known, columns: _Columns, pending: Tensor | None) -> Tensor:
        unit = torch.stack([torch.zeros(columns.size), torch.ones(columns.size)]).double()
        if len(known.x) < BEGIN:
            return unnormalize(torch.rand(1, columns.size, dtype=torch.float64), columns.bounds)
        running = columns.rows(normalize(pending, columns.bounds)) if pending is not None and len(pending) else None
        acquisition = _acquisition(self._model(known, columns), known, running)
        x, _ = optimize_acqf(
            _InBox(acquisition, columns.rows),
            bounds=unit,
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW,
            options={"batch_limit": RESTARTS, "init_batch_limit": AT_ONCE, "maxiter": STEPS},
        )
        return unnormalize(x.detach(), columns.bounds)

    def _model(self, known: Known, columns: _Columns) -> Any:
        """A process for each outcome, kept while nothing new is told: the points of a batch share it."""
        if self._fitted is not None:
            x, y, model = self._fitted
            if x.shape == known.x.shape and torch.equal(x, known.x) and torch.equal(y, known.y):
                return model
        models = [_fitted(known, columns, j) for j in range(known.y.shape[1])]
        model = models[0] if len(models) == 1 else ModelListGP(*models)
        self._fitted = (known.x, known.y, model)
        return model


class _Columns:
    """Optuna's columns of one search space, by name.

    Args:
        axes: K.
        conditions: searched beside the box.
        bounds: (2, p).
    """

    def __init__(self, axes: int, conditions: Mapping[str, Range | Choice], bounds: Tensor) -> None:
        self.axes, self.bounds, self.size = axes, bounds.double(), bounds.shape[1]
        self._box: dict[str, int] = {}
        self._ordered: dict[str, tuple[int, Range]] = {}
        self._categorical: dict[str, tuple[int, Choice]] = {}
        at = 0
        for name in sorted([*coordinate_names(axes), *conditions]):
            searched = conditions.get(name)
            if isinstance(searched, Choice):
                self._categorical[name] = (at, searched)
            elif searched is not None:
                self._ordered[name] = (at, searched)
            else:
                self._box[name] = at
            at += len(searched.values) if isinstance(searched, Choice) else 1
        if at != self.size:
            raise ArgumentError(
                f"bounds: expected {at} columns for K = {axes} and the conditions {list(conditions)}, got {self.size}. "
                "Give CoefficientCandidates the space and the conditions of the study."
            )

    def rows(self, unit: Tensor) -> Tensor:
        """Rows (..., q) for the kernel, of points (..., p) on [0, 1] in the present round."""
        parts = [unit[..., [self._box[name] for name in coordinate_names(self.axes)]], torch.zeros_like(unit[..., :1])]
        parts += [unit[..., at : at + 1] for at, _ in self._ordered.values()]
        for at, choice in self._categorical.values():
            parts.append(unit[..., at : at + len(choice.values)].argmax(dim=-1, keepdim=True).double())
        return torch.cat(parts, dim=-1)

    def beside(self, condition: Mapping[str, Any]) -> list[float]:
        """The same for the searched conditions of one trial."""
        low, high = self.bounds.tolist()
        row = []
        for name, (at, searched) in self._ordered.items():
            value = np.log(condition[name]) if searched.log else float(condition[name])
            row.append(float((value - low[at]) / (high[at] - low[at])))
        return row + [float(choice.values.index(condition[name])) for name, (_, choice) in self._categorical.items()]

    def kernel(self, geometry: Geometry) -> CoefficientKernel:
        """A kernel on such rows."""
        k, ordered = self.axes, len(self._ordered)
        return CoefficientKernel(
            geometry,
            box=range(k - 1),
            round=k - 1,
            ordered={k + j: (0.0, 1.0) for j in range(ordered)},
            categorical=range(k + ordered, k + ordered + len(self._categorical)),
        )


class _InBox(AcquisitionFunction):
    """An acquisition of points on [0, 1] in Optuna's columns."""

    def __init__(self, base: AcquisitionFunction, rows: Callable[[Tensor], Tensor]) -> None:
        super().__init__(model=base.model)
        self._base, self._rows = base, rows

    def forward(self, X: Tensor) -> Tensor:
        value: Tensor = self._base(self._rows(X))
        return value


def _of_all_rounds(
    space: SurrogateSpace, columns: _Columns, history: History, conditions: Sequence[Mapping[str, Any]]
) -> Known:
    """Finished trials, each at coordinates that stand for its coefficients."""
    bounded = [
        (history.values[m.name] - m.bound) * (1 if m.goal == "at_most" else -1) for m in history.objective.bounded
    ]
    losses = history.objective.losses(history.values)
    y = np.column_stack([-losses, *bounded])
    finished = np.flatnonzero(np.isfinite(y).all(axis=1)).tolist()
    geometry, placed = placed_trials(space, [history.terms[row] for row in finished], history.tensors)
    x = [[*at, *columns.beside(conditions[row])] for at, row in zip(placed, finished, strict=True)]
    width = space.axes + len(columns.beside(conditions[0])) if conditions else space.axes
    rows = torch.tensor(x, dtype=torch.float64).reshape(len(x), width)
    return Known(rows, torch.tensor(y[finished]), losses.shape[1], geometry)


def _fitted(known: Known, columns: _Columns, outcome: int) -> SingleTaskGP:
    model = SingleTaskGP(
        known.x,
        known.y[:, outcome : outcome + 1],
        covar_module=columns.kernel(known.geometry),
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _acquisition(model: Any, known: Known, running: Tensor | None) -> AcquisitionFunction:
    m = known.objectives
    bounds = [partial(_column, j=j) for j in range(m, known.y.shape[1])]
    options: dict[str, Any] = {
        "X_baseline": known.x,
        "X_pending": running,
        "constraints": bounds or None,
        "prune_baseline": True,
    }
    if m == 1:
        return qLogNoisyExpectedImprovement(model, objective=GenericMCObjective(_column), **options)
    kept = known.y[(known.y[:, m:] <= 0).all(dim=1), :m]
    kept = kept if len(kept) else known.y[:, :m]
    worst = infer_reference_point(kept[is_non_dominated(kept)])
    several = IdentityMCMultiOutputObjective(outcomes=list(range(m)))
    return qLogNoisyExpectedHypervolumeImprovement(model, ref_point=worst, objective=several, **options)


def _column(z: Tensor, X: Tensor | None = None, *, j: int = 0) -> Tensor:
    """An outcome of samples (..., m + b)."""
    return z[..., j]
