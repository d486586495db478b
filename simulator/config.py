"""What can be set, as dataclasses, and from plain settings to a `Scenario`. Knows nothing of how they were composed.

| settings | become |
|---|---|
| allocation, placement, scaling | policies of the registry: `name`, and the fields of its class |
| workload, step_time, estimates | objects of `workloads`: `name`, and the fields of its class |
| cluster, overheads, decide, monitor | `PoolSpec`, `Overheads`, `DecideOptions`, `MonitorOptions` |
| requests, service, services | inference services: `simulator.serving.settings` |
| compare | `CompareOptions`: changes nothing in a run |
| the rest | see `RunConfig` |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies import registry
from policies.scaling.joint import jointly
from simulator.catalogue import pool_settings
from simulator.cluster import DecideOptions
from simulator.errors import ConfigError
from simulator.manifests.choice import resolved
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pareto import Tradeoff
from simulator.pools import PoolSpec, Spot
from simulator.pools.spec import SPOT
from simulator.scenario import Scenario
from simulator.serving.settings import NONE, service_plans
from simulator.simulation import stream
from workloads import Amdahl, Linear, StepTimeModel, Table, Trace, WorkloadError, WorkloadSource
from workloads.estimates import make_estimator
from workloads.gpu_speeds import ByGpu
from workloads.options import build, build_source, coerce, nearest
from workloads.profile import METHODS, Profiled, load_profile

STEP_TIMES: dict[str, type] = {
    "linear": Linear,
    "amdahl": Amdahl,
    "table": Table,
    "profile": Profiled,
    "by_gpu": ByGpu,
}
GROUPS = (
    *("allocation", "placement", "scaling", "workload"),
    *("cluster", "step_time", "overheads", "estimates", "decide"),
)
SERVING_GROUPS = ("requests", "node_scaling")
STATIC: Mapping[str, Any] = {"name": "static"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions(Tradeoff):
    """How the runs of a sweep are held against each other, and whether that is done as soon as it has ended.

    Args:
        after_sweep: a sweep ends with what `python -m simulator.compare` says and draws, in the sweep's folder.
        baseline: labels of the rows that differences are to, such as `{scaling: static}`; where no row has them, or
            none are given, it is the row of what the sweep names first.
    """

    after_sweep: bool = False
    baseline: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class RunConfig:
    """Everything that a run can be told; the first nine are choices with settings of their own.

    `scaling` is that of the replicas of services, and `node_scaling` that of nodes; where there is no service,
    `scaling` is that of nodes.
    """

    allocation: Mapping[str, Any]
    placement: Mapping[str, Any]
    scaling: Mapping[str, Any]
    workload: Mapping[str, Any]
    cluster: Mapping[str, Any]
    step_time: Mapping[str, Any]
    overheads: Mapping[str, Any]
    estimates: Mapping[str, Any]
    decide: Mapping[str, Any]
    monitor: Mapping[str, Any] = field(default_factory=dict)
    requests: Mapping[str, Any] = field(default_factory=lambda: {"name": NONE})  # of `service`; none: no service
    service: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)  # more of them, by name, with requests of their own
    pools: Mapping[str, Any] = field(default_factory=dict)  # by name, each what differs from `cluster`; none: just that
    training_pool: str = ""  # whose nodes jobs may be on; empty: any
    node_scaling: Mapping[str, Any] = field(default_factory=lambda: STATIC)
    compare: Mapping[str, Any] = field(default_factory=dict)  # of the runs of a sweep
    seed: int = 0
    check: bool = False  # audit the run's books afterwards
    explain: bool = False  # record why, whenever a scaling policy is asked; read it with simulator.explain
    oversized: str = "reject"  # jobs that the cluster can never hold: reject | error
    horizon_s: float = math.inf  # ends the run then
    starve_after_s: float = 7 * 86400.0  # ends a run in which jobs wait for ever
    max_idle_moves: int = 100  # moves of one job without progress between them; more is an error
    warmup_s: float = 0.0  # jobs submitted before are left out of the statistics
    figures: bool | None = None  # None: for single runs, not in a sweep
    export: str | None = None  # a file in the run's folder that takes its services and scaling policies as manifests
    progress: bool = True  # a bar, on a terminal, in runs of more than a second
    resume: bool = True  # in a sweep: a run that is there already, of the same settings, is kept
    plugins: list[str] = field(default_factory=list)  # modules that register policies of your own

    def __post_init__(self) -> None:
        for name in GROUPS:
            if not isinstance(getattr(self, name), Mapping):
                raise ConfigError(f"{name}={getattr(self, name)}: is needed; see `--help` for the choices")
        rules = {
            "seed": (self.seed >= 0, "must be 0 or more"),
            "oversized": (self.oversized in ("reject", "error"), "must be reject or error"),
            "horizon_s": (self.horizon_s > 0, "must be more than 0"),
            "starve_after_s": (self.starve_after_s > 0, "must be more than 0"),
            "max_idle_moves": (self.max_idle_moves >= 1, "must be 1 or more"),
            "export": (self.export is None or _is_name(self.export), "must be a file's name, without a folder"),
            "warmup_s": (0 <= self.warmup_s < math.inf, "must be a number of seconds, 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"{name}={getattr(self, name)}: {rule}")


def _is_name(file: str) -> bool:
    return bool(file) and file not in (".", "..") and "/" not in file


def read_config(settings: Mapping[str, Any]) -> RunConfig:
    """Plain values as a `RunConfig`.

    Raises:
        WorkloadError, ConfigError: an unknown setting, with the nearest names; a value of the wrong type or range.
    """
    return build(RunConfig, settings)


class Setup:
    """A run whose settings have all been checked; only its workload is still to be read.

    Raises:
        ConfigError, PolicyError, WorkloadError: a setting that can't be, by its name.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        build(CompareOptions, config.compare, prefix="compare.")
        self.source: WorkloadSource = build_source(config.workload)
        self._pools = _pools(config.cluster, config.pools)
        self._services = list(service_plans(config.requests, config.service, config.services))
        self._check_places()
        self._estimates, self._estimate_options = _estimates(config.estimates)
        self._parts: dict[str, Any] = {
            "allocation": make_policy("allocation", config.allocation),
            "placement": make_policy("placement", config.placement),
            "scaling": self._scaling(),
            "step_time": self._step_time(),
            "overheads": _overheads(config.overheads),
            "decide": build(DecideOptions, config.decide, prefix="decide."),
            "monitor": build(MonitorOptions, config.monitor, prefix="monitor."),
        }

    def _scaling(self) -> dict[str, Any]:
        """Policies by the name of what they scale."""
        config = self.config
        of_nodes, prefix = (config.node_scaling, "node_scaling") if self._services else (config.scaling, "scaling")
        if not self._services and config.node_scaling.get("name") != STATIC["name"]:
            raise ConfigError("node_scaling is for runs with a service; without one, scaling is that of nodes")
        of = {}
        alike: list[tuple[Mapping[str, Any], Any, list[str]]] = []  # (settings, the policy they make, of which pools)
        for pool in self._pools:
            own = config.pools.get(pool.name, {}).get("scaling")
            chosen = own or of_nodes
            policy = make_policy("scaling", chosen, f"pools.{pool.name}.scaling" if own else prefix)
            same = next((each for each in alike if each[0] == chosen), None)
            if same and getattr(policy, "joins_pools", False):
                same[2].append(pool.name)
            else:
                alike.append((chosen, policy, [pool.name]))
            of[pool.name] = policy
        for _, policy, names in alike:
            if len(names) > 1:
                of |= jointly(policy, names)
        for plan, own in self._services:
            name = plan.spec.name
            if own is None:
                of[name] = make_policy("scaling", config.scaling)
            else:
                of[name] = make_policy("scaling", own, prefix=f"services.{name}.scaling")
        return of

    def _step_time(self) -> StepTimeModel:
        model = _step_time(self.config.step_time)
        if not isinstance(model, ByGpu):
            return model
        name = self.config.training_pool
        types = list(dict.fromkeys(pool.gpu_type for pool in self._pools if name in ("", pool.name)))
        if len(types) > 1:
            raise ConfigError(
                f"step_time=by_gpu: jobs may be on GPUs of several types, {', '.join(types)}; set training_pool"
            )
        try:
            return model.on(types[0])
        except WorkloadError as error:
            raise ConfigError(f"cluster.{error}") from None

    def _check_places(self) -> None:
        config = self.config
        is_bound = config.training_pool or any(plan.spec.pool for plan, _ in self._services)
        if is_bound and len(self._pools) > 1 and config.placement.get("name") == "pooled":
            raise ConfigError("placement=pooled knows no nodes: with training_pool or service.pool, set another")
        if config.monitor.get("nodes") and config.placement.get("name") == "pooled":
            raise ConfigError("placement=pooled knows no nodes: with monitor.nodes, set another")

    @property
    def service_names(self) -> set[str]:
        """Of services, of their sites, and of what has sites: all that summary.json will tell of."""
        plans = [plan for plan, _ in self._services]
        return {plan.spec.name for plan in plans} | {plan.route.stream for plan in plans if plan.route}

    def load(self) -> Trace:
        """Reads or draws the workload, from its own random stream.

        Raises:
            WorkloadError: a workload that can't be used.
        """
        return self.source.load(stream(self.config.seed, "workload"))

    def scenario(self, trace: Trace) -> Scenario:
        """The scenario, for one run: policies keep state.

        Raises:
            WorkloadError: a step-time model that knows nothing of a job's model or size.
        """
        config, jobs = self.config, trace.jobs
        largest = np.zeros(len(jobs.model.names), np.int64)  # GPUs, by model
        np.maximum.at(largest, jobs.model.codes, jobs.max_gpus)
        for model, num_gpus in zip(jobs.model.names, largest.tolist(), strict=True):
            if num_gpus:
                self._parts["step_time"].step_time_s(model, num_gpus)
        return Scenario(
            jobs=jobs,
            pools=self._pools,
            training_pool=config.training_pool,
            services=[plan for plan, _ in self._services],
            estimates=self._estimates,
            estimate_options=self._estimate_options,
            seed=config.seed,
            oversized=config.oversized,
            horizon_s=config.horizon_s,
            starve_after_s=config.starve_after_s,
            max_idle_moves=config.max_idle_moves,
            explain=config.explain,
            **self._parts,
        )


def _pools(cluster: Mapping[str, Any], pools: Mapping[str, Any]) -> list[PoolSpec]:
    """One pool, `default`; or those of `pools`, each with what differs from `cluster` (`scaling` aside)."""
    if not pools:
        return [_pool("default", cluster, "cluster.")]
    specs = []
    for name, own in pools.items():
        if not isinstance(own, Mapping):
            raise ConfigError(f"pools.{name}={own}: must be a mapping of options of a pool")
        options = {**cluster, **{key: _over(cluster.get(key), value) for key, value in own.items() if key != "scaling"}}
        specs.append(_pool(name, options, f"pools.{name}."))
    return specs


def _over(common: Any, own: Any) -> Any:
    """A pool's own value over that of `cluster`; options that have options, such as `startup`, are put together."""
    return {**common, **own} if isinstance(common, Mapping) and isinstance(own, Mapping) else own


def _pool(name: str, options: Mapping[str, Any], prefix: str) -> PoolSpec:
    """One pool. What is said of spot machines counts where they are bought, so that `purchase` alone can be swept."""
    settings = dict(pool_settings(options))
    if settings.get("purchase") != SPOT:
        coerce(settings.pop("spot", {}), Spot, f"{prefix}spot")  # checks it all the same
    return build(PoolSpec, settings, prefix=prefix, name=name)


def make_policy(kind: str, settings: Mapping[str, Any], prefix: str = "") -> Any:
    """A policy from its `name` and its options; `prefix` stands before an option in messages, if it isn't the kind.

    Of `scaling=kubernetes` it is the policy of its manifest.

    Raises:
        PolicyError, WorkloadError: an unknown name or option, with the nearest; a value that the policy refuses.
    """
    if kind == "scaling":
        settings = resolved(settings, prefix or kind)
    name, options = _named(prefix or kind, settings)
    try:
        return build(registry.get(kind, name), options, prefix=f"{prefix or kind}.")
    except NameError as error:  # of a type hint
        raise ConfigError(f"{kind}={name}: a type hint of its fields names what its module lacks: {error}") from None


def _named(kind: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if not isinstance(settings.get("name"), str) or settings["name"] == "???":
        raise ConfigError(f"{kind}.name: is needed")
    return settings["name"], {option: value for option, value in settings.items() if option != "name"}


def _step_time(settings: Mapping[str, Any]) -> StepTimeModel | ByGpu:
    name, options = _named("step_time", settings)
    if name not in STEP_TIMES:
        raise ConfigError(f"step_time={name}: unknown model{nearest(name, STEP_TIMES)}")
    model: StepTimeModel | ByGpu = build(STEP_TIMES[name], options, prefix="step_time.")
    return model


def _overheads(settings: Mapping[str, Any]) -> Overheads:
    """By model: as `by_model` says, else as the profile does (`profile`, `method`), else as the rest says."""
    special = coerce(settings.get("by_model", {}), Mapping[str, Mapping[str, Any]], "overheads.by_model")
    rest = {name: value for name, value in settings.items() if name not in ("by_model", "profile", "method")}
    default = build(MoveCosts, rest, prefix="overheads.")
    for model, costs in special.items():
        prefix = f"overheads.by_model.{model}."
        special[model] = {name: getattr(build(MoveCosts, costs, prefix=prefix), name) for name in costs}
    if "profile" in settings or "method" in settings:
        measured = _measured_moves(settings.get("profile"), settings.get("method", METHODS[0]))
        special = {model: {**measured.get(model, {}), **special.get(model, {})} for model in {**measured, **special}}
    return Overheads(default, special)


def _measured_moves(name: Any, method: Any) -> dict[str, dict[str, Any]]:
    """What moves cost by model, as a profile has measured them with one method."""
    if name is None or name == "???":
        raise ConfigError("overheads.profile: is needed; set overheads.profile=NAME")
    if method not in METHODS:
        raise ConfigError(f"overheads.method={method}: unknown method{nearest(str(method), METHODS)}")
    profile = load_profile(name)
    moves = {model: of.moves[method] for model, of in profile.models.items() if method in of.moves}
    if not moves:
        raise ConfigError(f"{profile.path}: models: none has moves.{method}, which overheads.method={method} needs")
    in_place = method == "in_place"
    return {
        model: {
            "start_s": stages.start_s,
            "restart_s": stages.restart_s,
            "rescale_s": stages.spawn_s + stages.import_s if in_place else stages.restart_s,
            "stall_s": stages.stall_s if in_place else 0.0,
            "rescale": "in_place" if in_place else "restart_all",
        }
        for model, stages in moves.items()
    }


def _estimates(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind and its options; those of the kind that `user` falls back on lie in `options`."""
    kind, options = _named("estimates", settings)
    options |= coerce(options.pop("options", {}), Mapping[str, Any], "estimates.options")
    make_estimator(kind, np.random.default_rng(0), **options)  # checks them
    return kind, options
