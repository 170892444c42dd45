"""The methods that `editing.py` compares, each from some pairs to pictures and their cost.

Settings were chosen on pairs of the training side, see `tune_editing.py`. Noise is by seed, item, draw and step, so
that rows do not depend on how items are spread over runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import torch
from avatar_items import BINARY, KEYS, caption, logits, rendered_pairs, rmse, shows
from edit_score import NAMES, Ridge
from torch import Tensor

from surrogate_ax import Metric, Objective, Range, chain, draws
from surrogate_ax.arrays import Array
from surrogate_ax.editing import Edit, FlowOpt, edit, invert, pollinate, residual_bank, straight_edit
from surrogate_ax.editing.edit import LADDER
from surrogate_ax.editing.maker import Counted
from surrogate_ax.editing.rows import flat, noise_levels, one_step, parts
from surrogate_ax.policies.evolution import evolve
from surrogate_ax_cli.edit import search_noises
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import optimize, portfolio

STEPS, WEIGHT, ENOUGH = 10, 4.0, 0.2  # value = min(score, ENOUGH) - WEIGHT * distance
DRAWS, SEARCHED, CHILDREN, KEPT = 16, 18, 24, 4  # evaluations of 300 NFE each way; variants that are looked at
OTHERS = 8
Made = tuple[Any, Any, dict[str, Array]]  # pictures, NFE, and what else is known by item


class Pairs:
    """Some pairs, and what the methods share: final latents, captions, pixels that should stay.

    Args:
        items: which of the pairs.
        seed: of the noises, and of which one of a pair is the source.
        raw: stem of other pairs than the held-out ones.
    """

    def __init__(self, items: Sequence[int], seed: int, raw: Any = None) -> None:
        found = rendered_pairs(seed, raw)
        self.items, self.seed, self.n = list(items), seed, len(items)
        self.source, self.target = found[0][self.items], found[1][self.items]
        self.before, self.after, self.names = ([part[i] for i in self.items] for part in found[2:])
        self.g: Any = avatar_generator("", steps=STEPS, guidance=1.0, check_determinism=False)
        self.x = self.g.encode(self.source)
        self.same = (self.source == self.target).all(axis=-1)
        self.changes = [{name: shows(a, name)} for a, name in zip(self.after, self.names, strict=True)]
        self.texts(self.before, self.after)
        self.to_target = True

    def texts(self, before: Sequence[dict[str, str]], after: Sequence[dict[str, str]]) -> None:
        self.source_text = [{"prompt": caption(label)} for label in before]
        self.target_text = [{"prompt": caption(label)} for label in after]

    def short(self) -> Pairs:
        """Captions that name only what changes."""
        keys = [KEYS[name] for name in self.names]
        self.texts(*[[{k: d[k]} for d, k in zip(side, keys, strict=True)] for side in (self.before, self.after)])
        return self

    def wrong(self) -> Pairs:
        """Captions whose background and clothes are those of another item."""
        other = rendered_pairs(self.seed)[2]
        moved = [{k: other[(i + 29) % len(other)][k] for k in ("background", "clothes")} for i in self.items]
        self.texts(*[[{**d, **m} for d, m in zip(side, moved, strict=True)] for side in (self.before, self.after)])
        return self

    def two(self) -> Pairs:
        """A hat as well, on or off; glasses where the hat is what changes. No picture shows the right answer."""
        after = []
        for i, (label, name) in enumerate(zip(self.after, self.names, strict=True)):
            second = "glasses" if name == "hat" else "hat"
            wanted = not shows(label, second)
            self.changes[i] = {**self.changes[i], second: wanted}
            self.same[i] &= ~region(second)
            after.append({**label, KEYS[second]: BINARY[second][0 if wanted else 1]})
        self.texts(self.before, after)
        self.to_target = False
        return self

    def guided(self, scale: float) -> list[dict[str, Any]]:
        return [{**text, "guidance_scale": scale} for text in self.target_text]

    def noise(self, draw: int, step: int) -> dict[str, Tensor]:
        rows = [np.random.default_rng([11, self.seed, i, draw, step]) for i in self.items]
        shape = self.x["latents"].shape[1:]
        return {"latents": torch.from_numpy(np.stack([r.standard_normal(shape, dtype=np.float32) for r in rows]))}

    def there(self, outputs: Any, at: Sequence[int]) -> Array:
        """Whether the judge sees all that should have changed."""
        seen = logits(outputs)
        wanted = [self.changes[i] for i in at]
        return np.array(
            [
                float(all((row[NAMES.index(k)] > 0) == v for k, v in w.items()))
                for row, w in zip(seen, wanted, strict=True)
            ]
        )

    def measure(self, method: str, made: Made) -> list[dict[str, Any]]:
        outputs, nfe = np.asarray(made[0]), np.broadcast_to(made[1], self.n)
        square = np.square(2 * (outputs - self.source / 255)).mean(axis=-1)
        success = self.there(outputs, range(self.n))
        right = rmse(outputs, self.target / 255) if self.to_target else np.full(self.n, np.nan)
        none = np.full(self.n, np.nan)
        return [
            {
                "method": method,
                "seed": self.seed,
                "item": self.items[i],
                "attribute": self.names[i],
                "nfe": float(nfe[i]),
                "success": success[i],
                "outside": float(np.sqrt(square[i][self.same[i]].mean())),
                "target": float(right[i]),
                "kept_success": float(made[2].get("kept_success", none)[i]),
                "diversity": float(made[2].get("diversity", none)[i]),
            }
            for i in range(self.n)
            if not np.isnan(nfe[i])
        ]


def region(name: str) -> Array:
    """Pixels that any held-out pair of an attribute changes."""
    source, target, _, _, names = rendered_pairs(0)
    at = [i for i, other in enumerate(names) if other == name]
    return np.asarray((source[at] != target[at]).any(axis=(0, 3)))


def sdedit(p: Pairs, *, step: int = 4, scale: float = 3.0) -> Made:
    """The source noised to a step and made anew under the target."""
    made = p.g.finish(p.g.start(p.g.noised(p.x, p.noise(0, step), step), p.guided(scale), step=step))
    return made.outputs, made.nfe, {}


def swap(p: Pairs, *, scale: float = 1.0, **settings: Any) -> Made:
    """The residual under the target's condition."""
    found = invert(p.g, p.x, p.source_text, **settings)
    made = p.g.generate(found.latents, p.guided(scale))
    return made.outputs, found.nfe + made.nfe, {}


def straight(p: Pairs, *, start: int = 1, scale: float = 1.0, source: float = 1.0, draw: int = 0) -> Made:
    """One draw of the straight path; with guidance it is FlowEdit as its authors run it."""
    noises = [p.noise(draw, s) for s in range(start, STEPS)]
    before = [{**text, "guidance_scale": source} for text in p.source_text]
    rows, nfe = straight_edit(p.g, flat(p.x), noises, before, p.guided(scale), start=start)
    return p.g.decode(parts(rows, p.g.prior.shapes)), nfe, {}


def flowalign(p: Pairs, *, start: int = 0, scale: float = 1.0, zeta: float = 0.01) -> Made:
    """FlowAlign: the source's caption as the negative one, and a pull of the two estimates to each other.

    Reference: arXiv 2505.23145, the step of its authors' code.
    """
    sigma, shapes, n = noise_levels(p.g).b, p.g.prior.shapes, p.n
    x, d, nfe = flat(p.x), torch.zeros_like(flat(p.x)), np.zeros(n)
    for s in range(start, STEPS):
        q = flat(p.g.noised(p.x, p.noise(0, s), s))
        rows = torch.cat([q + d, q + d, q])
        made, cost = one_step(p.g, rows, [*p.target_text, *p.source_text, *p.source_text], s)
        v_target, v_negative, v_source = ((made - rows) / float(sigma[s + 1] - sigma[s])).split(n)
        v = v_negative + scale * (v_target - v_negative)
        pull = (q - float(sigma[s]) * v_source) - (q + d - float(sigma[s]) * v)
        d = d + float(sigma[s + 1] - sigma[s]) * (v - v_source) + zeta * pull
        nfe = nfe + cost.reshape(3, n).sum(axis=0)
    return p.g.decode(parts(x + d, shapes)), nfe, {}


def flowopt(p: Pairs, *, eta: float = 0.1, iterates: int = 3, scale: float = 3.0) -> Made:
    """FlowOpt as published: plain iterates under the target's condition, from Uni-Inv."""
    begin = invert(p.g, p.x, p.source_text, method="uni-inv")
    made = FlowOpt(p.g, p.x, iterates=iterates, eta=eta).generate(begin.latents, p.guided(scale))
    return made.outputs, begin.nfe + made.nfe, {}


def value(p: Pairs, ridge: Ridge, i: int, outputs: Any) -> Array:
    """What a search sees: whether the target is there, by a score that is not the judge, less the distance."""
    away = np.sqrt(np.square(np.asarray(outputs) - p.source[i] / 255).mean(axis=(1, 2, 3)))
    return np.minimum(shown(p, ridge, i, outputs), ENOUGH) - WEIGHT * away


def shown(p: Pairs, ridge: Ridge, i: int, outputs: Any) -> Array:
    """The score: how clearly all that should change has changed."""
    return np.min([ridge(outputs, name, wanted) for name, wanted in p.changes[i].items()], axis=0)


def looked_at(p: Pairs, i: int, kept: Any) -> tuple[float, float]:
    """Of the best variants of an item: how many show the target, and their mean RMS difference to each other."""
    pictures = np.asarray(kept)
    pairs = [(a, b) for a in range(len(pictures)) for b in range(a)]
    apart = [float(rmse(pictures[[a]], pictures[[b]])[0]) for a, b in pairs]
    return float(p.there(pictures, [i] * len(pictures)).mean()), float(np.mean(apart)) if apart else float("nan")


def best_of(p: Pairs, *, count: int = DRAWS) -> Made:
    """The best of several draws of the straight path, by the score."""
    ridge, made = Ridge.load(), [straight(p, draw=k) for k in range(count)]
    pictures = np.stack([np.asarray(outputs) for outputs, _, _ in made], axis=1)  # (n, count, ...)
    order = [np.argsort(-value(p, ridge, i, pictures[i]), kind="stable") for i in range(p.n)]
    seen = np.array([looked_at(p, i, pictures[i][order[i][:KEPT]]) for i in range(p.n)])
    best = np.stack([pictures[i][order[i][0]] for i in range(p.n)])
    return best, sum(nfe for _, nfe, _ in made), {"kept_success": seen[:, 0], "diversity": seen[:, 1]}


def edited(p: Pairs, *, count: int = 1, budget: int | None = None) -> Made:
    """`edit` with the score, item by item: draws inside a region, and guidance that is raised or a search."""
    ridge, best, nfe = Ridge.load(), np.zeros(p.source.shape), np.zeros(p.n)
    seen = np.full((p.n, 2), np.nan)
    for i in range(p.n):
        seed = int(np.random.default_rng([5, p.seed, p.items[i]]).integers(2**31))
        found = edit(
            p.g,
            p.source[i],
            p.source_text[i],
            p.target_text[i],
            rng=seed,
            score=lambda outputs, _, i=i: shown(p, ridge, i, outputs),  # type: ignore[misc]
            reached=ENOUGH,
            weight=WEIGHT,
            draws=count,
            ladder=LADDER if budget is None else LADDER[:1],
            budget=budget,
            search=None if budget is None else search_noises,
        )
        best[i], nfe[i] = found.outputs[0], found.nfe
        seen[i] = looked_at(p, i, found.outputs[:KEPT])
    return best, nfe, {"kept_success": seen[:, 0], "diversity": seen[:, 1]}


def searched(p: Pairs, *, total: int = SEARCHED, first: int = 8, size: int = 4, last: int = 3) -> Made:
    """Step noises and the step to start from, of one item at a time, by a study."""

    def build(i: int) -> tuple[Edit, Any]:
        x = {"latents": p.x["latents"][[i]]}
        made = Edit(p.g, x, source=p.source_text[i], target=p.target_text[i], start=1)
        return made, chain(draws(made.prior, first, axes=4), evolve(made.prior, axes=4, size=size))

    conditions = {"start": Range(1, last)} if last > 1 else None
    return _studies(p, build, range(p.n), total, conditions)


def residuals(p: Pairs, *, total: int = CHILDREN, always: int = 24) -> Made:
    """Self- and cross-pollinated residuals, of the items whose plain swap fails and of the first ones."""
    found = invert(p.g, p.x, p.source_text, budget=60)
    plain = p.g.generate(found.latents, p.guided(1.0))
    failed = p.there(plain.outputs, range(p.n)) == 0
    chosen = [i for i in range(p.n) if failed[i] or p.items[i] < always]

    def build(i: int) -> tuple[Edit, Any]:
        others = [k for k in range(p.n) if k != i][:OTHERS]
        rows = found.latents["latents"]
        bank = residual_bank(p.g.prior, {"latents": rows[[i]]}, {"latents": rows[others]} if others else None)
        edit = Edit(
            p.g,
            {"latents": p.x["latents"][[i]]},
            source=p.source_text[i],
            target=p.target_text[i],
            path="inverted",
            start=0,
        )
        return edit, pollinate(bank, axes=4, size=8)

    outputs, nfe, more = _studies(p, build, chosen, total, None)
    return outputs, nfe + found.nfe, more


def _studies(
    p: Pairs, build: Callable[[int], tuple[Edit, Any]], chosen: Sequence[int], total: int, conditions: Any
) -> Made:
    """One study an item, by its own edit and policy; NaN where an item was not chosen."""
    ridge, nfe = Ridge.load(), np.full(p.n, np.nan)
    best = np.zeros(p.source.shape)
    seen = np.full((p.n, 2), np.nan)
    for i in chosen:
        edit, policy = build(i)
        counted = Counted(edit)
        seed = int(np.random.default_rng([5, p.seed, p.items[i]]).integers(2**31))
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
        )
        objective = Objective(Metric("value"), score=lambda outputs, _, i=i: value(p, ridge, i, outputs))
        optimize(
            study, counted, objective, rng=seed, total_trials=total, batch_size=8, policy=policy,
            conditions=conditions, progress=False, catch=(),
        )  # fmt: skip
        nfe[i] = counted.nfe
        picks = [pick.output for pick in portfolio(study, counted, k=KEPT, max_cosine=1.0)]
        best[i], seen[i] = picks[0], looked_at(p, i, picks)
    return best, nfe, {"kept_success": seen[:, 0], "diversity": seen[:, 1]}


def _with(change: Callable[[Pairs], Pairs], method: Callable[..., Made], **settings: Any) -> Callable[[Pairs], Made]:
    return lambda p: method(change(p), **settings)


METHODS: dict[str, Callable[[Pairs], Made]] = {
    "straight": straight,
    "swap": lambda p: swap(p, budget=60),
    "swap-uni-inv": lambda p: swap(p, method="uni-inv"),
    "sdedit": sdedit,
    "flowedit-authors": lambda p: straight(p, source=1.5, scale=5.5),
    "flowalign": flowalign,
    "flowopt": flowopt,
    "straight-guidance-3": lambda p: straight(p, scale=3.0),
    "best-of-16": best_of,
    "edit-1": edited,
    "edit-4-search-8": lambda p: edited(p, count=4, budget=8),
    "searched": searched,
    "searched-without-evolving": lambda p: searched(p, first=SEARCHED),
    "residuals": residuals,
    "straight-two": _with(Pairs.two, straight),
    "swap-two": _with(Pairs.two, lambda p: swap(p, budget=60)),
    "searched-two": _with(Pairs.two, searched),
    "straight-short": _with(Pairs.short, straight),
    "swap-short": _with(Pairs.short, lambda p: swap(p, budget=60)),
    "straight-wrong": _with(Pairs.wrong, straight),
    "swap-wrong": _with(Pairs.wrong, lambda p: swap(p, budget=60)),
}
