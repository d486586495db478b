"""What is known of a sweep before its first run: its jobs, and whether their settings can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from simulator.config import GROUPS, SERVING_GROUPS, CompareOptions, Setup, read_config
from simulator.errors import ConfigError
from simulator.manifests.choice import expanded
from simulator.metric_names import check_metric
from workloads.options import build, nearest

_SEED = "seed"  # of which one value is as good as another
Overrides = Sequence[str]  # of one job, all jobs' in the same order


def jobs_of(config: DictConfig) -> list[Overrides]:
    """The overrides of each job of a sweep, in the order of Hydra's own sweeper.

    Args:
        config: Hydra's, of the sweep as a whole.

    Raises:
        HydraException: an override that can't be read, or a sweep that isn't over single values.
    """
    params = config.hydra.sweeper.get("params") or {}
    given = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(given), None)
    return list(jobs)


def samples(jobs: Sequence[Overrides]) -> list[Overrides]:
    """The first job, and those that differ from it in one option other than the seed: each value of each option once.

    Composing and checking a job takes about 0.1 s (180 jobs of experiment=cost_latency: 10 are looked at, in 1.4 s).
    """
    first = jobs[0]
    return [first, *(job for job in jobs if len(changed := _changed(job, first)) == 1 and changed[0] != _SEED)]


def check_sweep(config: DictConfig) -> None:
    """Sees that the settings of `samples` can be, and that what compares the runs asks for metrics that they will have.

    Raises:
        HydraException, OmegaConfBaseException: settings that can't be composed.
        ConfigError, PolicyError, WorkloadError: settings that can't be.
    """
    options, jobs = compare_options(config), jobs_of(config)
    _check_baseline(options.baseline, jobs)
    loader = GlobalHydra.instance().config_loader()
    services: set[str] = set()
    for job in samples(jobs):
        composed = loader.load_sweep_config(config, list(job))
        plain = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        settings: Any = OmegaConf.to_container(plain, resolve=True)
        services |= Setup(read_config(expanded(settings))).service_names
    if options.after_sweep:
        check_metric("compare.x", options.x, services)
        check_metric("compare.y", options.y, services)


def _check_baseline(baseline: Mapping[str, str], jobs: Sequence[Overrides]) -> None:
    """Sees that its labels are such as runs have. A value that no run has is no mistake: see `CompareOptions`."""
    known = {*GROUPS, *SERVING_GROUPS, "monitor", "experiment", *first_labels(jobs)}
    for label in baseline:
        if label not in known and "." not in label:
            raise ConfigError(f"compare.baseline.{label}: unknown label{nearest(label, known)}")


def compare_options(config: DictConfig) -> CompareOptions:
    """What is set under `compare`.

    Raises:
        ConfigError, WorkloadError: an option that can't be.
    """
    return build(CompareOptions, OmegaConf.to_container(config.compare), prefix="compare.")  # type: ignore[arg-type]


def first_labels(jobs: Sequence[Overrides]) -> Mapping[str, str]:
    """What is swept, and the value of each that is named first; the seed aside."""
    swept = {key for job in jobs for key in _changed(job, jobs[0]) if key != _SEED}
    pairs = (override.lstrip("+").partition("=") for override in jobs[0])
    return {key.rpartition("@")[2]: value for key, _, value in pairs if key in swept}


def _changed(job: Overrides, other: Overrides) -> list[str]:
    """The options that differ in two jobs."""
    return [mine.lstrip("+").partition("=")[0] for mine, theirs in zip(job, other, strict=True) if mine != theirs]
