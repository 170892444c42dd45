"""`RayGenerator`: a pool of actors as one generator, with the abilities that the actors' generators have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surrogate_ax.errors import check_counts
from surrogate_ax.scoring.objective import Metric
from surrogate_ax_ray import cluster
from surrogate_ax_ray.messages import Message
from surrogate_ax_ray.plan import Kind, check_plan, json_arguments
from surrogate_ax_ray.pool import Pool
from surrogate_ax_ray.sharded import Sharded, end
from surrogate_ax_ray.stepping import Scheduling, Stepping


class RayGenerator(Sharded):
    """Generators on Ray's actors, as one. It can stop between steps if they can.

    An actor that ends is started again, and what it was at goes to one that is up. What ends its actor a second time
    fails, with Ray's words. A context manager, which ends its actors, and a cluster that it has started.

    Args:
        factory: "package.module:function", which every actor calls for its generator. It has to be importable on every
            node, and travels by its name.
        arguments: of the factory, JSON-able.
        num_actors: how many.
        resources: what each has, in Ray's words: `{"num_gpus": 1}`, `{"num_cpus": 2, "resources": {"A100": 1}}`. With
            `num_gpus`, Ray shows an actor its own GPUs only, so that the factory says "cuda".
        score: "package.module:function", called on the actors in the place of an objective's; None scores here.
        metrics: that it measures, of the generator's `objective`.
        outputs: what comes back: "whole" outputs, "previews" of those that are scored there, 8-bit pictures in place of
            what they show, or "references", `RemoteOutput`s whose output stays in Ray's object store.
        address: of a cluster that runs, or "auto"; without one, the environment's `RAY_ADDRESS`, else a cluster of this
            machine alone, on 127.0.0.1, which ends with this process.
        folder: where modules are looked for first on every node.
        start_timeout: seconds that an actor may take to be placed and to make its generator.

    Raises:
        ArgumentError: a factory or score that is not named like that or not found, arguments that are not JSON,
            resources that Ray does not know, metrics without a score or a score without metrics, previews without one.
        GenerationError: no actor is up in time.

    Example:
        with RayGenerator("models:flow", num_actors=8, resources={"num_gpus": 1}) as generator:
            optimize(study, generator, objective, total_trials=1024, batch_size=64, rng=0)
    """

    def __new__(
        cls,
        factory: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        num_actors: int = 1,
        resources: Mapping[str, Any] | None = None,
        score: str | None = None,
        metrics: Sequence[Metric] = (),
        outputs: Kind = "whole",
        address: str | None = None,
        folder: Path | str | None = None,
        start_timeout: float = 600.0,
    ) -> RayGenerator:
        """Connect with the cluster and start the actors; arguments as of the class."""
        check_counts(num_actors=num_actors)
        options = {"num_cpus": 1, **(resources or {})}
        check_plan(factory, score, metrics, outputs, options, start_timeout)
        plan = {
            "factory": factory,
            "arguments": json_arguments(arguments or {}),
            "folder": [] if folder is None else [str(Path(folder).resolve())],
            "score": score,
            "metrics": [[metric.name, metric.goal, metric.bound] for metric in metrics],
            "outputs": outputs,
        }
        ours = cluster.connect(address, cpus=num_actors * options["num_cpus"])
        pool: Pool | None = None
        try:
            if ours and address is None:
                cluster.check_room(num_actors, options)
            pool = Pool(plan, num_actors, options, start_timeout)
            made = object.__new__(_class_of(cls, pool.described))
        except BaseException:
            end(pool, ours)
            raise
        made._begin(pool, plan, metrics, ours, num_actors)
        return made

    def __enter__(self) -> RayGenerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SteppableRayGenerator(Stepping, RayGenerator):
    """A `RayGenerator` that stops between steps, as its actors' generators do."""


class ScheduledRayGenerator(Scheduling, RayGenerator):
    """A `RayGenerator` whose steps depend on some call arguments."""


def _class_of(cls: type[RayGenerator], said: Message) -> type[RayGenerator]:
    """The class with the abilities that the actors' generators have."""
    if said["steps"] is None:
        return cls
    return SteppableRayGenerator if said["schedule_arguments"] is None else ScheduledRayGenerator
